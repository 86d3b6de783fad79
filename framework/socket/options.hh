// What the command line said of the network: one constant object after start-up.
//
// Errors: option_error. Context: any thread, read-only after start-up.
#pragma once

#include "framework/device/options.hh"

#include <optional>
#include <string>

namespace boost::program_options {
class options_description;
class variables_map;
}  // namespace boost::program_options

namespace solaster {

struct network_options {
  std::string stack = "";      // posix, native, none; empty: native in a guest, else posix
  nic_options nic;             // from here on: of the native stack
  std::optional<bool> dhcp;    // --dhcp 0|1; not given: on unless --host-ipv4-addr is
  std::string host_ipv4_addr;  // --host-ipv4-addr; empty: none
  std::string netmask_ipv4_addr;
  std::string gw_ipv4_addr;
};

void describe_network_options(boost::program_options::options_description&);
// Options that do not fit together or this host are errors.
network_options read_network_options(const boost::program_options::variables_map&);

}  // namespace solaster

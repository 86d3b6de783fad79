#include "framework/socket/options.hh"

#include "framework/base/option_error.hh"
#include "framework/host/direct.hh"

#include <fmt/format.h>
#include <boost/program_options.hpp>
#include <string_view>

namespace bpo = boost::program_options;

namespace solaster {
namespace {

// Options of the native stack mean nothing to another: who gives one of them would wait for its effect in vain.
void check_native_options(const network_options& o, const bpo::variables_map& vm) {
  bool native = o.stack == "native" || (o.stack.empty() && is_guest());
  for (const char* name : {"tap", "dhcp", "host-ipv4-addr", "netmask-ipv4-addr", "gw-ipv4-addr", "pcap"}) {
    if (!native && vm.count(name)) {
      throw option_error(fmt::format("--{} is for the native network stack; add --network-stack native{}", name,
                                     std::string_view(name) == "tap" ? "" : " --tap NAME"));
    }
  }
  if (is_guest() && vm.count("tap")) {
    throw option_error("--tap: a guest drives its own network device; give the tap to run.py, --net tap=NAME");
  }
  for (const char* name : {"netmask-ipv4-addr", "gw-ipv4-addr"}) {
    if (vm.count(name) && !vm.count("host-ipv4-addr")) {
      throw option_error(fmt::format("--{} goes with --host-ipv4-addr; without it DHCP says it", name));
    }
  }
}

}  // namespace

void describe_network_options(bpo::options_description& d) {
  auto text = [] { return bpo::value<std::string>(); };
  d.add_options()("network-stack", text()->value_name("NAME"),
                  "posix, native or none (default: posix, in a guest native)")("tap", text()->value_name("NAME"),
                                                                               "native stack on Linux: the tap device")(
      "dhcp", bpo::value<bool>()->value_name("0|1"), "native stack: ask for an address (default: unless one is given)")(
      "host-ipv4-addr", text()->value_name("ADDR"), "native stack: this host's address")(
      "netmask-ipv4-addr", text()->value_name("MASK"), "native stack: its network's mask")(
      "gw-ipv4-addr", text()->value_name("ADDR"), "native stack: the gateway")(
      "pcap", text()->value_name("FILE"), "native stack: write the packets that it sees");
}

network_options read_network_options(const bpo::variables_map& vm) {
  network_options o;
  auto text = [&](const char* name, std::string& out) {
    if (vm.count(name)) {
      out = vm[name].as<std::string>();
    }
  };
  text("network-stack", o.stack);
  text("tap", o.nic.tap);
  if (vm.count("dhcp")) {
    o.dhcp = vm["dhcp"].as<bool>();
  }
  text("host-ipv4-addr", o.host_ipv4_addr);
  text("netmask-ipv4-addr", o.netmask_ipv4_addr);
  text("gw-ipv4-addr", o.gw_ipv4_addr);
  text("pcap", o.nic.pcap);
  check_native_options(o, vm);
  return o;
}

}  // namespace solaster

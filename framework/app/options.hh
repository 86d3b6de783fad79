// What the command line said to the framework, for whoever needs it: one constant object after start-up.
//
// Units: as the names say. Context: any thread, read-only after start-up.
#pragma once

#include "framework/reactor/time.hh"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace solaster {

struct native_stack_options {
  std::string tap;             // --tap NAME: which tap device (Linux)
  std::optional<bool> dhcp;    // --dhcp 0|1; not given: on unless --host-ipv4-addr is
  std::string host_ipv4_addr;  // --host-ipv4-addr; empty: none
  std::string netmask_ipv4_addr;
  std::string gw_ipv4_addr;
  unsigned rx_queue_size = 0;  // 0: the device's own
  std::string pcap;            // --pcap FILE: write what the stack sees
};

struct engine_options {
  unsigned smp = 1;
  std::vector<unsigned> cpuset;      // the CPU of each shard; empty: not pinned
  uint64_t memory = 0;               // bytes for all shards together; 0: what the host has
  std::string network_stack = "";    // posix, native; empty: native in a guest, else posix
  std::string reactor_backend = "";  // io_uring, epoll, guest; empty: the best there is
  bool poll_mode = false;
  bool overprovisioned = false;
  bool thread_affinity = true;
  std::optional<duration> idle_poll_time;  // not given: the back end's
  duration task_quota = microseconds(500);
  native_stack_options native;
};

// Of the running program. Defaults before app_template::run().
const engine_options& options() noexcept;

}  // namespace solaster

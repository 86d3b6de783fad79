// What the command line said of shards, memory and the run loop, for whoever needs it: one constant object after
// start-up.
//
// Units: as the names say. Errors: option_error. Context: any thread, read-only after start-up.
#pragma once

#include "framework/reactor/time.hh"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace boost::program_options {
class options_description;
class variables_map;
}  // namespace boost::program_options

namespace solaster {

struct engine_options {
  unsigned smp = 1;
  std::vector<unsigned> cpuset;      // the CPU of each shard; empty: not pinned
  uint64_t memory = 0;               // bytes for all shards together; 0: what the host has
  std::string reactor_backend = "";  // io_uring, epoll, guest; empty: the best there is
  bool poll_mode = false;
  bool overprovisioned = false;
  bool thread_affinity = true;
  std::optional<duration> idle_poll_time;  // not given: the back end's
  duration task_quota = microseconds(500);
};

// Of the running program. Defaults before app_template::run().
const engine_options& options() noexcept;

void describe_engine_options(boost::program_options::options_description&);
// Options that do not fit together or this host are errors.
engine_options read_engine_options(const boost::program_options::variables_map&);
// "64M", "1G", "123456"; bytes.
uint64_t parse_size(const std::string& text);
// "0-3,8"
std::vector<unsigned> parse_cpuset(const std::string& text);

namespace internal {
void set_options(engine_options) noexcept;
}

}  // namespace solaster

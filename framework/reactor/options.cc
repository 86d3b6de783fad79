#include "framework/reactor/options.hh"

#include "framework/base/option_error.hh"
#include "framework/host/direct.hh"
#include "framework/memory/memory.hh"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>
#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>

namespace bpo = boost::program_options;

namespace solaster {
namespace {

engine_options current;

// The CPUs that this program may use, in order.
std::vector<unsigned> available_cpus() {
  std::vector<unsigned> cpus;
  if (auto* direct = find_direct_interface()) {
    for (int i = 0; i < direct->cpu_count(); ++i) {
      cpus.push_back(unsigned(i));
    }
    return cpus;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (unsigned i = 0; i < CPU_SETSIZE; ++i) {
      if (CPU_ISSET(i, &set)) {
        cpus.push_back(i);
      }
    }
  }
  if (cpus.empty()) {
    cpus.push_back(0);
  }
  return cpus;
}

unsigned parse_number(const std::string& text, const std::string& all) {
  unsigned n = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n >= CPU_SETSIZE) {
    throw option_error("--cpuset: not a list of CPUs such as 0-3,8: " + all);
  }
  return n;
}

void place_shards(engine_options& o, const bpo::variables_map& vm) {
  std::vector<unsigned> cpus = available_cpus();
  if (vm.count("cpuset")) {
    std::vector<unsigned> asked = parse_cpuset(vm["cpuset"].as<std::string>());
    for (unsigned cpu : asked) {
      if (std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) {
        throw option_error("--cpuset: this program may not use CPU " + std::to_string(cpu));
      }
    }
    cpus = asked;
  }
  o.smp = vm.count("smp") ? vm["smp"].as<unsigned>() : unsigned(std::min<size_t>(cpus.size(), memory::max_shards));
  if (o.smp == 0 || o.smp > memory::max_shards) {
    throw option_error("--smp: from 1 to " + std::to_string(memory::max_shards));
  }
  if (o.smp > cpus.size()) {
    if (is_guest() || vm.count("cpuset")) {
      throw option_error("--smp " + std::to_string(o.smp) + ": CPUs to be had: " + std::to_string(cpus.size()));
    }
    o.thread_affinity = false;  // more shards than CPUs: let the host place them
    o.overprovisioned = true;
  }
  if (o.thread_affinity && !o.overprovisioned) {
    o.cpuset.assign(cpus.begin(), cpus.begin() + o.smp);
  }
}

}  // namespace

const engine_options& options() noexcept {
  return current;
}

namespace internal {
void set_options(engine_options o) noexcept {
  current = std::move(o);
}
}  // namespace internal

uint64_t parse_size(const std::string& text) {
  uint64_t n = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  std::string unit(static_cast<const char*>(end), text.data() + text.size());
  constexpr std::string_view units = "KMGT";
  unsigned shift = 0;
  if (!unit.empty()) {
    size_t i = units.find(char(std::toupper(unsigned(unit[0]))));
    bool good_tail = unit.size() == 1 || unit.substr(1) == "B" || unit.substr(1) == "iB";
    if (i == std::string_view::npos || !good_tail) {
      throw option_error("not a size such as 64M or 1G: " + text);
    }
    shift = unsigned(i + 1) * 10;
  }
  if (error != std::errc() || n == 0 || n > (UINT64_MAX >> shift)) {
    throw option_error("not a size such as 64M or 1G: " + text);
  }
  return n << shift;
}

std::vector<unsigned> parse_cpuset(const std::string& text) {
  std::vector<unsigned> cpus;
  for (size_t from = 0; from <= text.size();) {
    size_t to = std::min(text.find(',', from), text.size());
    std::string item = text.substr(from, to - from);
    size_t dash = item.find('-');
    unsigned first = parse_number(item.substr(0, dash), text);
    unsigned last = dash == std::string::npos ? first : parse_number(item.substr(dash + 1), text);
    for (unsigned cpu = first; cpu <= last; ++cpu) {
      cpus.push_back(cpu);
    }
    from = to + 1;
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  if (cpus.empty()) {
    throw option_error("--cpuset: not a list of CPUs such as 0-3,8: " + text);
  }
  return cpus;
}

void describe_engine_options(bpo::options_description& d) {
  auto text = [] { return bpo::value<std::string>(); };
  d.add_options()("smp", bpo::value<unsigned>()->value_name("N"), "shards, one a CPU (default: every CPU)")(
      "memory", text()->value_name("SIZE"), "memory of all shards together, such as 512M (default: what the host has)")(
      "cpuset", text()->value_name("LIST"), "CPUs to use, such as 0-3,8")(
      "thread-affinity", bpo::value<bool>()->default_value(true)->value_name("0|1"), "pin each shard to its CPU")(
      "overprovisioned", "the CPUs are shared with others: do not pin, do not poll when idle")(
      "poll-mode", "never sleep: poll all the time")("idle-poll-time-us", bpo::value<unsigned>()->value_name("US"),
                                                     "how long to poll before sleeping")(
      "task-quota-ms", bpo::value<double>()->default_value(0.5, "0.5")->value_name("MS"),
      "how long tasks run between two looks at the network")("reactor-backend", text()->value_name("NAME"),
                                                             "io_uring, epoll or guest (default: the best there is)");
}

engine_options read_engine_options(const bpo::variables_map& vm) {
  engine_options o;
  auto text = [&](const char* name, std::string& out) {
    if (vm.count(name)) {
      out = vm[name].as<std::string>();
    }
  };
  o.overprovisioned = vm.count("overprovisioned") != 0;
  o.thread_affinity = vm["thread-affinity"].as<bool>();
  o.poll_mode = vm.count("poll-mode") != 0;
  place_shards(o, vm);
  if (vm.count("memory")) {
    try {
      o.memory = parse_size(vm["memory"].as<std::string>());
    } catch (const option_error& e) {
      throw option_error(std::string("--memory: ") + e.what());
    }
  }
  if (vm.count("idle-poll-time-us")) {
    o.idle_poll_time = microseconds(vm["idle-poll-time-us"].as<unsigned>());
  }
  double quota_ms = vm["task-quota-ms"].as<double>();
  if (!(quota_ms >= 0.01 && quota_ms <= 1000)) {
    throw option_error("--task-quota-ms: from 0.01 to 1000");
  }
  o.task_quota = nanoseconds(int64_t(quota_ms * 1e6));
  text("reactor-backend", o.reactor_backend);
  return o;
}

}  // namespace solaster

// mcbench: a load generator for any memcached. It checks every value that it reads.
#include <fmt/format.h>
#include <sys/resource.h>

#include <boost/program_options.hpp>
#include <cstdio>

#include "apps/memcached/bench/client.hh"
#include "apps/memcached/bench/report.hh"
#include "framework/app/app.hh"
#include "framework/future/coroutine.hh"
#include "framework/log/log.hh"
#include "framework/reactor/sharded.hh"
#include "framework/reactor/timer.hh"
#include "framework/sync/gate.hh"
#include "framework/sync/sleep.hh"

using namespace solaster;
namespace bpo = boost::program_options;

namespace {

struct bad_option : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void declare_options(app_template& app) {
  app.add_options()("server,s", bpo::value<std::string>()->default_value("127.0.0.1:11211"),
                    "address and port of the server")("connections,c", bpo::value<unsigned>()->default_value(50),
                                                      "connections, all shards together")(
      "depth,d", bpo::value<unsigned>()->default_value(1), "requests sent at once on a connection")(
      "get-ratio", bpo::value<double>()->default_value(0.9), "share of gets; the rest are sets")(
      "keys,k", bpo::value<uint64_t>()->default_value(10'000), "number of keys")(
      "value-size", bpo::value<std::string>()->default_value("64"), "bytes of a value, or MIN-MAX")(
      "duration,t", bpo::value<double>()->default_value(10), "seconds to measure")(
      "requests,n", bpo::value<uint64_t>()->default_value(0), "measure so many requests instead of a duration")(
      "warmup", bpo::value<double>()->default_value(1), "seconds before measuring")(
      "rate,r", bpo::value<double>()->default_value(0), "open loop: requests a second; 0 is a closed loop")(
      "populate", bpo::value<bool>()->default_value(true), "store all keys first")(
      "seed", bpo::value<uint64_t>()->default_value(1), "of the choice of keys")(
      "json", bpo::value<std::string>()->default_value(""), "write the result to this file, - is standard output")(
      "quiet,q", bpo::bool_switch(), "no progress, no report");
}

mcbench::bench_options read_options(app_template& app) {
  auto& c = app.configuration();
  mcbench::bench_options o;
  auto server = ipv4_addr::parse(c["server"].as<std::string>(), 11211);
  if (!server)
    throw bad_option("--server: not ADDRESS[:PORT]: " + c["server"].as<std::string>());
  o.server = *server;
  o.connections = c["connections"].as<unsigned>();
  o.depth = c["depth"].as<unsigned>();
  o.rate = c["rate"].as<double>();
  o.seconds = c["duration"].as<double>();
  o.warmup_seconds = c["warmup"].as<double>();
  o.requests = c["requests"].as<uint64_t>();
  o.populate = c["populate"].as<bool>();
  o.work.keys = c["keys"].as<uint64_t>();
  o.work.get_share = c["get-ratio"].as<double>();
  o.work.seed = c["seed"].as<uint64_t>();
  auto size = c["value-size"].as<std::string>();
  int used = 0;
  int n = std::sscanf(size.c_str(), "%u%n-%u%n", &o.work.value_min, &used, &o.work.value_max, &used);
  if (n == 1)
    o.work.value_max = o.work.value_min;
  if (n < 1 || used != int(size.size()) || o.work.value_max < o.work.value_min || o.work.value_max > 1 << 20) {
    throw bad_option("--value-size: not SIZE or MIN-MAX up to 1048576: " + size);
  }
  if (o.connections == 0 || o.connections > 60'000)
    throw bad_option("--connections: 1 to 60000");
  if (o.depth == 0 || o.depth > 10'000)
    throw bad_option("--depth: 1 to 10000");
  if (o.work.keys == 0)
    throw bad_option("--keys: at least 1");
  if (!(o.work.get_share >= 0 && o.work.get_share <= 1))
    throw bad_option("--get-ratio: 0 to 1");
  if (!(o.seconds > 0 && o.seconds <= 1e6) || !(o.warmup_seconds >= 0 && o.warmup_seconds <= 1e6))
    throw bad_option("--duration, --warmup: seconds");
  if (!(o.rate >= 0 && o.rate <= 1e9))
    throw bad_option("--rate: requests a second");
  return o;
}

struct cpu_seconds {
  double user, system;
};
cpu_seconds read_cpu() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  auto s = [](timeval t) { return double(t.tv_sec) + double(t.tv_usec) * 1e-6; };
  return {s(u.ru_utime), s(u.ru_stime)};
}

// A line a second while it runs.
class progress {
 public:
  progress(sharded<mcbench::client>& clients, bool quiet) : _clients(clients) {
    if (quiet)
      return;
    _timer.set_callback([this] { spawn(_gate, [this] { return print(); }); });
    _timer.arm_periodic(std::chrono::seconds(1));
  }
  // Before the clients stop.
  future<> stop() {
    _timer.cancel();
    return _gate.close();
  }

 private:
  future<> print() {
    uint64_t now = 0;
    for (unsigned shard = 0; shard < smp::count; ++shard) {
      now += co_await _clients.invoke_on(shard, [](mcbench::client& c) { return c.done(); });
    }
    ++_seconds;
    if (now == 0)
      co_return;  // warming up
    fmt::print(stderr, "{:4} s  {:9} requests/s\n", _seconds, now < _before ? now : now - _before);
    _before = now;
  }
  sharded<mcbench::client>& _clients;
  timer<> _timer;
  gate _gate;
  uint64_t _before = 0;
  unsigned _seconds = 0;
};

future<> measure(sharded<mcbench::client>& clients, const mcbench::bench_options& o, mcbench::bench_result& sum,
                 mcbench::run_figures& figures) {
  co_await clients.invoke_on_all([](mcbench::client& c) { return c.connect(); });
  if (o.populate)
    co_await clients.invoke_on_all([](mcbench::client& c) { return c.populate(); });
  instant begin = steady_clock::now() + duration{int64_t(o.warmup_seconds * 1e9)};
  instant end = begin + duration{int64_t(o.seconds * 1e9)};
  cpu_seconds before{};
  timer<> at_begin([&] { before = read_cpu(); });
  if (o.warmup_seconds > 0)
    at_begin.arm(begin);
  else
    before = read_cpu();
  co_await clients.invoke_on_all([begin, end](mcbench::client& c) { return c.run(begin, end); });
  cpu_seconds after = read_cpu();
  instant last{};
  for (unsigned shard = 0; shard < smp::count; ++shard) {
    sum += co_await clients.invoke_on(shard, [](mcbench::client& c) { return c.result(); });
    last = std::max(last, co_await clients.invoke_on(shard, [](mcbench::client& c) { return c.last_answer(); }));
  }
  figures = {.seconds = sum.requests() ? double((last - begin).ns) * 1e-9 : 0,
             .cpu_user = after.user - before.user,
             .cpu_system = after.system - before.system};
}

int report(const mcbench::bench_options& o, const mcbench::bench_result& r, const mcbench::run_figures& f,
           const std::string& json, bool quiet) {
  if (!quiet && json != "-")
    fmt::print("{}", mcbench::text_report(o, r, f));
  if (!json.empty()) {
    FILE* file = json == "-" ? stdout : std::fopen(json.c_str(), "w");
    if (!file) {
      fmt::print(stderr, "mcbench: cannot write {}: {}\n", json, std::strerror(errno));
      return 1;
    }
    std::string text = mcbench::json_report(o, r, f);
    bool failed = std::fwrite(text.data(), 1, text.size(), file) != text.size();
    failed |= (file == stdout ? std::fflush(file) : std::fclose(file)) != 0;
    if (failed) {
      fmt::print(stderr, "mcbench: cannot write {}: {}\n", json, std::strerror(errno));
      return 1;
    }
  }
  if (r.errors || r.wrong_values) {
    fmt::print(stderr, "mcbench: {} errors, {} wrong values; the first: {}\n", r.errors, r.wrong_values, r.first_error);
    return 1;
  }
  return 0;
}

future<int> bench(app_template& app) {
  mcbench::bench_options options;
  try {
    options = read_options(app);
  } catch (const bad_option& e) {
    fmt::print(stderr, "mcbench: {}\n", e.what());
    co_return 2;
  }
  bool quiet = app.configuration()["quiet"].as<bool>();
  sharded<mcbench::client> clients;
  mcbench::bench_result sum;
  mcbench::run_figures figures;
  co_await clients.start(options);
  progress shown(clients, quiet);
  auto done = co_await coroutine::as_future(measure(clients, options, sum, figures));
  co_await shown.stop();
  co_await clients.stop();
  if (done.failed()) {
    fmt::print(stderr, "mcbench: {}: {}\n", to_string(options.server), describe(done.get_exception()));
    co_return 1;
  }
  co_return report(options, sum, figures, app.configuration()["json"].as<std::string>(), quiet);
}

}  // namespace

int main(int argc, char** argv) {
  app_template app({.name = "mcbench", .description = "a load generator for memcached"});
  declare_options(app);
  return app.run(argc, argv, [&] { return bench(app); });
}

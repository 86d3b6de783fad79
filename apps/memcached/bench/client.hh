// One shard's connections to the server under test: sends the workload, checks the answers, records latencies.
//
// Closed loop: a connection sends `depth` requests at once and the next when all are answered; a latency runs from the
// sending. Open loop: requests are due at a fixed rate whatever the server does; a latency runs from when a request was
// due, so that a stall of the server counts for everything that waited behind it (no coordinated omission).
//
// Owns: connections. Context: shard-local (sharded<client>). Errors: a failed connection ends the run. Units:
// nanoseconds.
#pragma once

#include <memory>
#include <random>
#include <vector>

#include "apps/memcached/bench/histogram.hh"
#include "apps/memcached/bench/workload.hh"
#include "framework/future/future.hh"
#include "framework/reactor/time.hh"
#include "framework/socket/api.hh"

namespace solaster::mcbench {

struct bench_options {
  socket_address server;
  unsigned connections = 50;  // all shards together
  unsigned depth = 1;
  double rate = 0;  // requests per second, all together; 0: closed loop
  double seconds = 10;
  double warmup_seconds = 1;
  uint64_t requests = 0;  // measured requests, all together; 0: by time
  bool populate = true;
  workload_options work;
};

struct bench_result {
  histogram latency;
  uint64_t gets = 0, sets = 0, hits = 0, misses = 0, wrong_values = 0, errors = 0;
  uint64_t bytes_sent = 0, bytes_received = 0;
  std::string first_error;  // what the first unexpected answer said
  uint64_t requests() const noexcept { return latency.count(); }
  bench_result& operator+=(const bench_result& o);
};

class client {
 public:
  explicit client(bench_options options);
  ~client();

  future<> connect();
  // Stores this shard's part of the keys.
  future<> populate();
  // Runs until end_ns (steady clock) or until this shard's part of the requests is done; records from begin_ns on.
  future<> run(instant begin, instant end);
  future<> stop();

  bench_result result() const { return _result; }
  uint64_t done() const noexcept { return _result.requests(); }
  // When the last recorded answer came.
  instant last_answer() const noexcept { return _last; }

 private:
  struct connection;
  future<> drive(connection& c, instant begin, instant end);
  future<> exchange(connection& c);
  future<unsigned> due_requests(connection& c, instant end);
  void record(connection& c, size_t index, answer_checker::verdict v, std::string_view line, instant now);

  bench_options _options;
  workload _workload;
  std::vector<std::unique_ptr<connection>> _connections;
  bench_result _result;
  uint64_t _requests_left = UINT64_MAX;
  instant _record_from{};
  instant _last{};
  bool _stop = false;
};

}  // namespace solaster::mcbench

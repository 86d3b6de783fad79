#include "apps/memcached/bench/client.hh"

#include <algorithm>
#include <cmath>
#include <system_error>

#include "framework/future/coroutine.hh"
#include "framework/future/loops.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/sync/sleep.hh"

namespace solaster::mcbench {

bench_result& bench_result::operator+=(const bench_result& o) {
  latency += o.latency;
  gets += o.gets;
  sets += o.sets;
  hits += o.hits;
  misses += o.misses;
  wrong_values += o.wrong_values;
  errors += o.errors;
  bytes_sent += o.bytes_sent;
  bytes_received += o.bytes_received;
  if (first_error.empty())
    first_error = o.first_error;
  return *this;
}

struct client::connection {
  connection(connected_socket s, const workload& w, uint64_t seed)
      : fd(std::move(s)), in(fd.input()), out(fd.sink()), random(seed), checker(w) {}

  connected_socket fd;
  input_stream<char> in;
  data_sink out;
  std::mt19937_64 random;
  answer_checker checker;
  std::vector<workload::request> sent;
  std::vector<instant> since;  // of each of `sent`: where its latency begins
  std::string text;            // the requests' bytes
  std::string rest;            // of an answer that came in parts
  instant next_due{};          // open loop
  duration interval{};
};

client::client(bench_options options) : _options(std::move(options)), _workload(_options.work) {
  if (_options.requests) {
    _requests_left = _options.requests / smp::count + (this_shard_id() < _options.requests % smp::count);
  }
}

client::~client() = default;

future<> client::connect() {
  unsigned mine = _options.connections / smp::count + (this_shard_id() < _options.connections % smp::count);
  for (unsigned i = 0; i < mine; ++i) {
    auto fd = co_await engine().net().connect(_options.server);
    fd.set_nodelay(true);
    uint64_t seed = _options.work.seed * 1'000'003 + this_shard_id() * 10'007 + i;
    _connections.push_back(std::make_unique<connection>(std::move(fd), _workload, seed));
  }
}

future<> client::populate() {
  if (_connections.empty())
    co_return;
  constexpr uint64_t batch = 64;
  connection& c = *_connections.front();
  _record_from = instant::never();
  for (uint64_t key = this_shard_id(); key < _options.work.keys;) {
    c.sent.clear();
    c.since.clear();
    for (uint64_t n = 0; n < batch && key < _options.work.keys; ++n, key += smp::count) {
      c.sent.push_back({key, false});
      c.since.push_back(engine().now());
    }
    co_await exchange(c);
    if (_result.errors)
      co_return;
  }
}

future<> client::run(instant begin, instant end) {
  _record_from = begin;
  _result = {};
  if (_options.rate > 0) {
    // Each connection has its share of the rate; they start evenly spread.
    auto interval = duration{int64_t(double(_options.connections) * 1e9 / _options.rate)};
    instant now = steady_clock::now();
    for (size_t i = 0; i < _connections.size(); ++i) {
      _connections[i]->interval = interval;
      _connections[i]->next_due =
          now + duration{int64_t(double(interval.ns) * double(i) / double(_connections.size()))};
    }
  }
  co_await parallel_for_each(_connections, [&](auto& c) { return drive(*c, begin, end); });
}

// Open loop: waits until something is due; how many requests are (at most depth).
future<unsigned> client::due_requests(connection& c, instant end) {
  instant now = steady_clock::now();
  if (c.next_due > now) {
    if (c.next_due >= end)
      co_return 0;
    co_await sleep(c.next_due - now);
    now = steady_clock::now();
  }
  co_return unsigned(std::clamp<int64_t>((now - c.next_due).ns / c.interval.ns + 1, 1, _options.depth));
}

future<> client::drive(connection& c, instant begin, instant end) {
  const bool counted = _options.requests != 0;
  for (;;) {
    unsigned n = _options.depth;
    if (_options.rate > 0)
      n = co_await due_requests(c, counted ? instant::never() : end);
    instant now = steady_clock::now();
    if (n == 0 || _stop || (!counted && now >= end) || _requests_left == 0)
      co_return;
    if (counted && now >= begin) {
      n = unsigned(std::min<uint64_t>(n, _requests_left));
      _requests_left -= n;
    }
    c.sent.clear();
    c.since.clear();
    for (unsigned i = 0; i < n; ++i) {
      c.sent.push_back(_workload.pick(c.random));
      if (_options.rate > 0) {
        c.since.push_back(c.next_due);
        c.next_due = c.next_due + c.interval;
      } else {
        c.since.push_back(now);
      }
    }
    co_await exchange(c);
    if (_result.errors)
      _stop = true;
  }
}

// Sends c.sent and takes in all the answers.
future<> client::exchange(connection& c) {
  c.text.clear();
  for (auto& r : c.sent) {
    if (r.is_get)
      _workload.append_get(c.text, r.key);
    else
      _workload.append_set(c.text, r.key);
  }
  _result.bytes_sent += c.text.size();
  co_await c.out.put(temporary_buffer<char>::copy_of(c.text));
  size_t answered = 0;
  while (answered < c.sent.size()) {
    auto buf = co_await c.in.read();
    if (buf.empty())
      throw std::system_error(ECONNRESET, std::generic_category(), "the server closed the connection");
    _result.bytes_received += buf.size();
    std::string_view input(buf.get(), buf.size());
    if (!c.rest.empty()) {
      c.rest.append(input);
      input = c.rest;
    }
    instant now = steady_clock::now();
    while (answered < c.sent.size() && !input.empty()) {
      auto [what, consumed] = c.checker.check(c.sent[answered], input);
      if (what == answer_checker::verdict::incomplete)
        break;
      record(c, answered++, what, input.substr(0, consumed), now);
      input.remove_prefix(consumed);
    }
    std::string left(input);
    c.rest = std::move(left);
  }
}

void client::record(connection& c, size_t index, answer_checker::verdict v, std::string_view text, instant now) {
  using verdict = answer_checker::verdict;
  bool bad = v == verdict::error || v == verdict::wrong_value;
  if (bad) {
    ++(v == verdict::error ? _result.errors : _result.wrong_values);
    if (_result.first_error.empty())
      _result.first_error = std::string(text.substr(0, std::min(text.find_first_of("\r\n"), size_t(200))));
  }
  if (now < _record_from)
    return;
  _result.latency.record((now - c.since[index]).ns);
  ++(c.sent[index].is_get ? _result.gets : _result.sets);
  _result.hits += v == verdict::hit;
  _result.misses += v == verdict::miss;
  _last = now;
}

future<> client::stop() {
  for (auto& c : _connections) {
    (co_await coroutine::as_future(c->out.close())).ignore_ready_future();
    c->fd.shutdown_input();
    (co_await coroutine::as_future(c->in.close())).ignore_ready_future();
  }
  _connections.clear();
}

}  // namespace solaster::mcbench

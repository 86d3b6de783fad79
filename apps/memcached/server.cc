#include "apps/memcached/server.hh"

#include <algorithm>
#include <ctime>

#include "framework/app/log.hh"
#include "framework/future/coroutine.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/sleep.hh"
#include "framework/reactor/smp.hh"

namespace solaster::memcached {

namespace {

logger mclog("memcached");

int64_t wall_seconds() {
  return engine().backend().read_wall_ns() / 1'000'000'000;
}

// A shard's part of the memory that was asked for, or what the shard can give.
cache_limits limits_of(const server_options& o) {
  uint64_t wanted = o.memory_bytes / smp::count;
  uint64_t total = memory::total_bytes();
  // Connections, packets on their way and the allocator's own rounding need room beside the items.
  uint64_t possible =
      total == 0 ? wanted : total - std::max<uint64_t>(total / 5, std::min<uint64_t>(total / 2, 4 << 20));
  if (wanted > possible && this_shard_id() == 0) {
    mclog.warn("-m {} MB is more than there is: {} MB will be used", o.memory_bytes >> 20, possible * smp::count >> 20);
  }
  return {.bytes_max = std::min(wanted, possible), .item_bytes_max = o.item_bytes_max, .evict = o.evict};
}

}  // namespace

server::connection::connection(server& s, accept_result a)
    : fd(std::move(a.connection)),
      peer(a.remote_address),
      in(fd.input()),
      out(fd.sink()),
      commands(s._cache, s._where) {}

server::server(sharded<server>& all, server_options options, hash_seed seed)
    : _all(all),
      _options(std::move(options)),
      _where{this_shard_id(), smp::count, seed},
      _cache(limits_of(_options), wall_seconds()),
      _scratch(&_cache),
      _ticker([this] { tick(); }),
      _reclaimer([](void* self, size_t bytes) { return static_cast<server*>(self)->_cache.shrink(bytes) > 0; }, this),
      _started(wall_seconds()) {}

server::~server() = default;

future<> server::start() {
  auto address = ipv4_addr::parse(_options.listen, _options.port);
  if (!address)
    return make_exception_future<>(std::invalid_argument("not an IPv4 address: " + _options.listen));
  _listener =
      engine().net().listen(*address, {.backlog = int(std::max(1024u, _options.connections_max)), .nodelay = true});
  _ticker.arm_periodic(std::chrono::seconds(1));
  spawn(_gate, [this] { return accept_loop(); });
  return make_ready_future<>();
}

future<> server::stop() {
  _ticker.cancel();
  if (_listener)
    _listener.abort_accept();
  for (auto& c : _connections)
    c.fd.shutdown_input();
  // A peer that does not read must not hold up the stop.
  timer<> patience([this] {
    for (auto& c : _connections)
      c.fd.abort();
  });
  patience.arm(std::chrono::seconds(2));
  co_await _gate.close();
}

future<> server::accept_loop() {
  for (;;) {
    auto accepted = co_await coroutine::as_future(_listener.accept());
    if (!accepted.failed()) {
      adopt(accepted.get());
      continue;
    }
    auto why = accepted.get_exception();
    if (_gate.is_closed())
      co_return;
    mclog.warn("cannot accept a connection: {}", describe(why));
    co_await sleep(std::chrono::milliseconds(10));  // out of descriptors, say: others may close
  }
}

void server::adopt(accept_result accepted) {
  ++_figures.connections_total;
  bool full = _figures.connections >= std::max(1u, _options.connections_max / smp::count);
  if (full)
    ++_figures.connections_rejected;
  auto c = std::make_unique<connection>(*this, std::move(accepted));
  if (_options.verbosity > 0)
    mclog.info("{} connected", to_string(c->peer));
  spawn(_gate, [this, full, c = std::move(c)]() mutable { return live(std::move(c), full); });
}

// A connection from its first byte to its last.
future<> server::live(std::unique_ptr<connection> c, bool full) {
  ++_figures.connections;
  _connections.push_back(*c);
  auto served = co_await coroutine::as_future(
      full ? c->out.put(temporary_buffer<char>::copy_of("ERROR Too many open connections\r\n")) : serve(*c));
  if (served.failed()) {
    auto why = served.get_exception();  // a reset, mostly: the peer's business
    if (_options.verbosity > 1)
      mclog.info("{} failed: {}", to_string(c->peer), describe(why));
  }
  (co_await coroutine::as_future(c->out.close())).ignore_ready_future();
  c->fd.shutdown_input();
  (co_await coroutine::as_future(c->in.close())).ignore_ready_future();
  _connections.erase(_connections.iterator_to(*c));
  --_figures.connections;
}

future<> server::serve(connection& c) {
  bool closing = false;
  while (!closing) {
    auto buf = co_await c.in.read();
    if (buf.empty())
      co_return;
    _figures.bytes_read += buf.size();
    c.last_used = _cache.now();
    std::string_view input(buf.get(), buf.size());
    std::string joined;
    if (!c.rest.empty()) {
      joined = std::move(c.rest);
      c.rest.clear();
      joined.append(input);
      input = joined;
    }
    do {
      auto [consumed, why] = c.commands.feed(input, _scratch);
      if (!c.commands.batch().empty() || why == session::verdict::admin) {
        reply out(std::move(_scratch));
        if (!c.commands.batch().empty())
          co_await run_batch(c, out);
        if (why == session::verdict::admin)
          co_await run_admin(c.commands.admin(), out);
        co_await send(c, out);
      } else if (!_scratch.empty()) {
        co_await send(c, _scratch);
      }
      input.remove_prefix(consumed);
      closing = why == session::verdict::close;
      if (why == session::verdict::more)
        break;
    } while (!closing && !input.empty());
    if (!closing && !input.empty())
      c.rest.assign(input);
  }
}

// The answer is taken out of `out` before the first suspension.
future<> server::send(connection& c, reply& out) {
  _figures.bytes_written += out.size();
  if (!out.has_references()) [[likely]] {
    auto buf = temporary_buffer<char>::copy_of(out.text());
    out.clear();
    return buf.empty() ? make_ready_future<>() : c.out.put(std::move(buf));
  }
  std::vector<temporary_buffer<char>> bufs;
  size_t at = 0;
  auto references = out.take_references();
  for (auto& r : references) {
    if (r.at > at)
      bufs.push_back(temporary_buffer<char>::copy_of(out.text().substr(at, r.at - at)));
    at = r.at;
    bufs.emplace_back(r.what->text() + r.skip, r.what->text_size() - r.skip,
                      make_deleter([owner = &_cache, what = r.what]() noexcept { owner->release(what); }));
  }
  if (out.text().size() > at)
    bufs.push_back(temporary_buffer<char>::copy_of(out.text().substr(at)));
  out.clear();
  return c.out.put(std::move(bufs));
}

reply server::execute_batch(std::span<operation> operations, bool foreign) {
  reply out;  // copies values: the answer crosses shards
  execute_round(_cache, _where.shard, operations, out, foreign);
  return out;
}

// In rounds: a shard is asked again when what it answered has been sent, so that large values never pile up. The shard
// of the first operation that is not done holds no answer back: every round gets further.
future<> server::run_batch(connection& c, reply& out) {
  session& s = c.commands;
  std::vector<std::optional<reply>> answers(smp::count);
  for (;;) {
    auto operations = s.batch();
    std::vector<std::optional<future<reply>>> asked(smp::count);
    for (auto& op : operations) {
      if (op.done || answers[op.shard] || asked[op.shard])
        continue;
      asked[op.shard] = _all.invoke_on(op.shard, [operations, foreign = op.shard != _where.shard](server& other) {
        return other.execute_batch(operations, foreign);
      });
    }
    // All are waited for before anything is thrown: the messages point into the batch.
    for (auto& f : asked) {
      if (f)
        co_await coroutine::wait_for(*f);
    }
    for (unsigned shard = 0; shard < smp::count; ++shard) {
      if (!asked[shard])
        continue;
      answers[shard].emplace(asked[shard]->get());
      s.take_answer(shard, answers[shard]->text());
    }
    if (s.emit_answers(out))
      co_return;
    for (unsigned shard = 0; shard < smp::count; ++shard) {
      if (answers[shard] && !s.holds_answer(shard))
        answers[shard].reset();
    }
    co_await send(c, out);
  }
}

future<> server::run_admin(const admin_request& request, reply& out) {
  switch (request.what) {
    case admin_request::kind::none:
      co_return;
    case admin_request::kind::flush_all:
      co_await _all.invoke_on_all([when = request.exptime](server& s) { s.flush_all(when); });
      break;
    case admin_request::kind::verbosity:
      co_await _all.invoke_on_all([level = request.level](server& s) { s.set_verbosity(level); });
      break;
    case admin_request::kind::stats:
      out.append(co_await stats_text(request.argument));
      co_return;
  }
  if (!request.noreply)
    out.append("OK\r\n");
}

future<std::string> server::stats_text(const std::string& argument) {
  if (argument == "settings")
    co_return settings_stats(_options, smp::count);
  if (argument == "conns") {
    std::vector<connection_figures> all;
    for (unsigned shard = 0; shard < smp::count; ++shard) {
      auto some = co_await _all.invoke_on(shard, [](server& s) { return s.connections(); });
      all.insert(all.end(), some.begin(), some.end());
    }
    co_return connection_stats(all);
  }
  if (argument == "reset") {
    co_await _all.invoke_on_all([](server& s) { s.reset_stats(); });
    co_return "RESET\r\n";
  }
  if (argument != "" && argument != "items")
    co_return "ERROR\r\n";
  shard_figures sum;
  for (unsigned shard = 0; shard < smp::count; ++shard)
    sum += co_await _all.invoke_on(shard, [](server& s) { return s.figures(); });
  if (argument == "items")
    co_return item_stats(sum);
  int64_t now = wall_seconds();
  co_return general_stats(sum, {.uptime = now - _started, .time = now, .threads = smp::count}, _options);
}

void server::flush_all(int64_t exptime) {
  _cache.tick(wall_seconds());
  _cache.flush(exptime == 0 ? 0 : _cache.expiry_from_protocol(exptime));
}

void server::reset_stats() {
  _cache.stats() = {};
  _figures.connections_total = _figures.connections_rejected = _figures.bytes_read = _figures.bytes_written = 0;
}

shard_figures server::figures() {
  shard_figures f = _figures;
  f.cache = _cache.stats();
  f.cache.cmd_flush = _where.shard == 0 ? f.cache.cmd_flush : 0;  // one command reaches every shard
  f.items = _cache.item_count();
  f.item_bytes = _cache.bytes_used();
  f.table_bytes = _cache.table_bytes();
  f.bytes_max = _cache.limits().bytes_max;
  f.oldest_age = _cache.oldest_age();
  return f;
}

std::vector<connection_figures> server::connections() const {
  std::vector<connection_figures> all;
  for (const auto& c : _connections) {
    all.push_back(
        {to_string(c.peer), to_string(c.fd.local_address()), _cache.now() - c.last_used, c.commands.mid_value()});
  }
  return all;
}

void server::tick() {
  _cache.tick(wall_seconds());
}

}  // namespace solaster::memcached

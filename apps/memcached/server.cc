#include "apps/memcached/server.hh"

#include <algorithm>
#include <new>

#include "framework/future/coroutine.hh"
#include "framework/log/log.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/sync/sleep.hh"

namespace solaster::memcached {

namespace {

logger mclog("memcached");

constexpr std::string_view no_memory_line = "SERVER_ERROR out of memory\r\n";
constexpr std::string_view full_line = "ERROR Too many open connections\r\n";
constexpr size_t memory_step = 256 << 10;  // what is asked of the cache when an answer finds no memory

constexpr size_t values_max_when_short = 4 << 10;

clock_seconds read_clocks() {
  return clock_seconds::from_ns(steady_clock::now().ns, engine().backend().read_wall_ns());
}

bool is_out_of_memory(const std::exception_ptr& why) noexcept {
  try {
    std::rethrow_exception(why);
  } catch (const std::bad_alloc&) {
    return true;
  } catch (...) {
    return false;
  }
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

seats::holder::holder(seats& s) noexcept {
  uint32_t free = s._free.load(std::memory_order_relaxed);
  while (free != 0 && !s._free.compare_exchange_weak(free, free - 1, std::memory_order_relaxed)) {
  }
  if (free != 0)
    _of = &s;
}

seats::holder::~holder() {
  if (_of)
    _of->_free.fetch_add(1, std::memory_order_relaxed);
}

server::connection::connection(server& s, accept_result a)
    : fd(std::move(a.connection)),
      peer(a.remote_address),
      in(fd.input()),
      out(fd.sink()),
      commands(s._cache, s._where),
      place(s._seats) {}

server::server(sharded<server>& all, seats& places, server_options options, hash_seed seed)
    : _all(all),
      _seats(places),
      _options(std::move(options)),
      _where{this_shard_id(), smp::count, seed},
      _cache(limits_of(_options), read_clocks()),
      _ticker([this] { tick(); }),
      _reclaimer([](void* self, size_t bytes) { return static_cast<server*>(self)->give_back(bytes); }, this),
      _started(read_clocks()) {}

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
  // A peer that does not read must not hold up the stop.
  for (auto& c : _connections)
    c.fd.shutdown(std::chrono::seconds(2));
  return _gate.close();
}

future<> server::accept_loop() {
  for (;;) {
    std::exception_ptr why;
    try {
      adopt(co_await _listener.accept());
      continue;
    } catch (...) {
      why = std::current_exception();
    }
    if (_gate.is_closed())
      co_return;
    if (std::exchange(_accept_failed_at, _cache.now()) != _cache.now())
      mclog.warn("cannot accept a connection: {}", describe(why));
    // Out of descriptors or memory, say: others may give some back.
    (co_await coroutine::as_future(sleep(std::chrono::milliseconds(10)))).ignore_ready_future();
  }
}

void server::adopt(accept_result accepted) {
  ++_figures.connections_total;
  auto c = std::make_unique<connection>(*this, std::move(accepted));
  if (!c->place)
    ++_figures.connections_rejected;
  if (_options.verbosity > 0)
    mclog.info("{} connected", to_string(c->peer));
  spawn(_gate, [this, c = std::move(c)]() mutable { return live(std::move(c)); });
}

// A connection from its first byte to its last.
future<> server::live(std::unique_ptr<connection> c) {
  ++_figures.connections;
  _connections.push_back(*c);
  auto served =
      co_await coroutine::as_future(c->place ? serve(*c) : c->out.put(temporary_buffer<char>::from_static(full_line)));
  if (served.failed()) {
    auto why = served.get_exception();  // a reset, mostly: the peer's business
    if (_options.verbosity > 1)
      mclog.info("{} failed: {}", to_string(c->peer), describe(why));
    if (is_out_of_memory(why)) {
      auto said = co_await coroutine::as_future(c->out.put(temporary_buffer<char>::from_static(no_memory_line)));
      said.ignore_ready_future();
    }
  }
  (co_await coroutine::as_future(c->out.close())).ignore_ready_future();
  c->fd.shutdown_input();
  (co_await coroutine::as_future(c->in.close())).ignore_ready_future();
  _connections.erase(_connections.iterator_to(*c));
  --_figures.connections;
}

future<> server::serve(connection& c) {
  session::progress progress{};
  buffers unsent;      // goes in front of what a batch or an admin request answers
  std::string joined;  // the rest of an earlier buffer, and this one
  for (;;) {
    auto buf = co_await c.in.read();
    if (buf.empty())
      co_return;
    _figures.bytes_read += buf.size();
    c.last_used = _cache.now();
    std::string_view input = buf.view();
    if (!c.rest.empty()) [[unlikely]]
      input = joined = std::exchange(c.rest, {}).append(input);
    for (;;) {
      co_await take_step(c, input, progress, unsent);
      if (progress.why == session::verdict::more) [[likely]] {
        input.remove_prefix(progress.consumed);
        break;
      }
      if (!c.commands.batch().empty())
        co_await run_batch(c, std::exchange(unsent, {}));
      if (progress.why == session::verdict::admin) {
        std::string text;
        co_await run_admin(c.commands.admin(), text);
        if (!text.empty())
          unsent.push_back(copy(text));
        co_await send(c, std::exchange(unsent, {}));
      }
      if (progress.why == session::verdict::give_up)
        throw std::bad_alloc();
      if (progress.why == session::verdict::binary)
        report_binary(c);
      if (progress.why == session::verdict::close || progress.why == session::verdict::binary)
        co_return;
      input.remove_prefix(progress.consumed);
      if (input.empty())
        break;
    }
    if (!input.empty()) [[unlikely]]
      c.rest.assign(input);
  }
}

// Feeds what can be fed without waiting, and sends what that answers; but in front of a batch or an admin request it
// stays in `unsent`. The reply does not outlive this call.
future<> server::take_step(connection& c, std::string_view input, session::progress& progress, buffers& unsent) {
  reply out(_storage);
  try {
    progress = c.commands.feed(input, out, values_max());
  } catch (const std::bad_alloc&) {
    // The command under way is lost; those before it are not.
    progress = {input.size(), session::verdict::give_up};
  }
  if (out.empty())
    return make_ready_future<>();
  _figures.bytes_written += out.size();
  bool is_first_part = !c.commands.batch().empty() || progress.why == session::verdict::admin;
  if (!out.has_references() && !is_first_part) [[likely]]
    return c.out.put(copy(out.text()));
  take_out(out, unsent);
  return is_first_part ? make_ready_future<>() : c.out.put(std::exchange(unsent, {}));
}

future<> server::send(connection& c, buffers out) {
  return out.empty() ? make_ready_future<>() : c.out.put(std::move(out));
}

// ---- memory ----

void server::take_out(reply& from, buffers& to) {
  try {
    from.take(to);
  } catch (const std::bad_alloc&) {
    _cache.shrink(memory_step);
    from.take(to);
  }
}

temporary_buffer<char> server::copy(std::string_view text) {
  try {
    return temporary_buffer<char>::copy_of(text);
  } catch (const std::bad_alloc&) {
    _cache.shrink(std::max(memory_step, text.size()));
    return temporary_buffer<char>::copy_of(text);
  }
}

// The shard runs low, and asks for `bytes`.
bool server::give_back(size_t bytes) noexcept {
  size_t freed = _cache.shrink(bytes);
  if (freed < bytes)
    _memory_wanted = memory::free_bytes() + (bytes - freed);
  return freed > 0;
}

// How many bytes of values one reply may hold. When the cache has nothing to give back it is answers that take the
// memory, of connections that do not read. They get no more of them; who asks for little is served to the last.
size_t server::values_max() noexcept {
  if (_memory_wanted == 0) [[likely]]
    return session::unlimited;
  size_t free = memory::free_bytes();
  if (free >= _memory_wanted)
    _memory_wanted = 0;
  return free >= _memory_wanted ? session::unlimited : free >= _memory_wanted / 4 ? values_max_when_short : 0;
}

// ---- several shards ----

// The answers cross shards: values too are copied.
temporary_buffer<char> server::execute_batch(std::span<operation> operations, bool foreign) {
  reply out(_storage);
  execute_round(_cache, _where.shard, operations, out, foreign);
  try {
    return out.flatten();
  } catch (const std::bad_alloc&) {
    _cache.shrink(std::max(memory_step, out.size()));
    return out.flatten();
  }
}

// In rounds: a shard is asked again when what it answered has been sent, so that answers never pile up. The shard of
// the first operation that is not done holds no answer back: every round gets further.
future<> server::run_batch(connection& c, buffers out) {
  session& s = c.commands;
  answers held(smp::count);
  for (bool done = false; !done;) {
    co_await ask(s, held);
    done = emit(s, held, out);
    co_await send(c, std::exchange(out, {}));
  }
}

// Asks every shard that has something to do and whose last answer is used up.
future<> server::ask(session& s, answers& held) {
  auto operations = s.batch();
  std::vector<std::optional<future<temporary_buffer<char>>>> asked(smp::count);
  for (auto& op : operations) {
    if (op.done || held[op.shard] || asked[op.shard])
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
    held[shard] = asked[shard]->get();
    s.take_answer(shard, held[shard]->view());
  }
}

// Moves what can be sent now behind `out`. True: that was the rest of the batch.
bool server::emit(session& s, answers& held, buffers& out) {
  reply ready(_storage);
  bool done = s.emit_answers(ready, held);
  _figures.bytes_written += ready.size();
  take_out(ready, out);
  for (unsigned shard = 0; shard < smp::count; ++shard) {
    if (held[shard] && (done || !s.holds_answer(shard)))
      held[shard].reset();
  }
  return done;
}

future<> server::run_admin(const admin_request& request, std::string& out) {
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
      out = co_await stats_text(request.argument);
      co_return;
  }
  if (!request.noreply)
    out = "OK\r\n";
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
  if (argument == "sizes")
    co_return "STAT sizes_status disabled\r\nEND\r\n";
  if (argument != "" && argument != "items" && argument != "slabs")
    co_return "ERROR\r\n";
  shard_figures sum;
  for (unsigned shard = 0; shard < smp::count; ++shard)
    sum += co_await _all.invoke_on(shard, [](server& s) { return s.figures(); });
  if (argument == "items")
    co_return item_stats(sum);
  if (argument == "slabs")
    co_return slab_stats(sum);
  clock_seconds now = read_clocks();
  co_return general_stats(sum, {.uptime = now.steady - _started.steady, .time = now.wall, .threads = smp::count},
                          _options);
}

void server::flush_all(int64_t exptime) {
  _cache.tick(read_clocks());
  _cache.flush(exptime);
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
        {to_string(c.peer), to_string(c.fd.local_address()), _cache.now() - c.last_used, c.commands.is_mid_command()});
  }
  return all;
}

void server::tick() {
  _cache.tick(read_clocks());
}

void server::report_binary(const connection& c) {
  if (!std::exchange(_binary_reported, true))
    mclog.warn("{} speaks the binary protocol, which is not served: refused, and so will others be", to_string(c.peer));
}

}  // namespace solaster::memcached

// What the host asks for.
// Spec: RFC 9293 3.10.1 to 3.10.5.
#include <algorithm>

#include "net/tcp/core.hh"
#include "net/tcp/isn.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

result<connection*> core::connect(endpoint local, const reservation* r, endpoint remote, void* cookie,
                                  instant now) noexcept {
  if (remote.port == 0 || remote.address.any()) {
    return errc::addrnotavail;
  }
  if (local.port != 0 && port_taken(local, r, r && r->reuse)) {
    return errc::addrinuse;
  }
  const path way = TRY(_ip.find_path(remote.address, local.address));
  uint16_t port = local.port;
  if (port == 0) {
    const auto used = [](void* context, const four_tuple& t) noexcept {
      const auto& self = *static_cast<const core*>(context);
      return self.tuple_used(flow_key::of(t)) || self.port_taken(t.local, nullptr, false);
    };
    port = TRY(_ip.choose_port(way.source, remote, used, this));
  }
  const flow_key key = flow_key::of(way.source, port, remote.address, remote.port);
  if (tuple_used(key)) {
    return errc::addrinuse;
  }
  connection* c = TRY(make_connection(key, way));
  c->held = true;
  c->source.cookie = cookie;
  c->iss = initial_sequence(_isn_key, key, now);
  c->snd_una = c->snd_nxt = c->snd_max = c->iss;
  c->st = state::syn_sent;
  c->last_received = now;
  _flows.insert(c);
  ++stats.tcp_connections_opened;
  want_output(*c);
  return c;
}

result<size_t> core::send(connection& c, std::span<fragment> data) noexcept {
  if (c.failure) {
    return *c.failure;
  }
  if (c.fin_queued || !may_send(c.st)) {
    return errc::pipe;
  }
  if (data.size() == 1) [[likely]] {
    const uint32_t size = data[0].size();
    if (size && size <= send_room(c) && c.send_queue.reserve(_memory, 1)) [[likely]] {
      c.send_queue.push(std::move(data[0]));
      c.send_bytes += size;
      _send_memory += size + send_fragment_overhead;
      want_output(c);
      return size;
    }
  }
  return send_many(c, data);
}

result<size_t> core::send_many(connection& c, std::span<fragment> data) noexcept {
  size_t room = send_room(c);
  size_t taken = 0;
  const uint32_t fragments = c.send_queue.size();
  bool short_of_room = false;
  for (fragment& f : data) {
    const uint32_t size = f.size();
    if (size == 0) {
      f.reset();
      continue;
    }
    if (room == 0) {
      short_of_room = true;
      break;
    }
    if (!c.send_queue.reserve(_memory, 1)) {
      if (taken == 0) {
        return errc::nomem;
      }
      short_of_room = true;
      break;
    }
    if (size > room) {
      const auto part = uint32_t(room);
      c.send_queue.push(f.share(0, part));
      f.trim_front(part);
      taken += part;
      short_of_room = true;
      break;
    }
    taken += size;
    room -= std::min<size_t>(room, size + send_fragment_overhead);
    c.send_queue.push(std::move(f));
  }
  c.send_bytes += uint32_t(taken);
  _send_memory += taken + (c.send_queue.size() - fragments) * send_fragment_overhead;
  c.writable_wanted |= short_of_room;
  if (taken == 0) {
    return short_of_room ? result<size_t>(errc::again) : result<size_t>(0);
  }
  want_output(c);
  return taken;
}

result<size_t> core::receive(connection& c, std::span<fragment> out, size_t max_bytes) noexcept {
  size_t count = 0;
  while (count < out.size() && max_bytes && !c.receive_queue.empty()) {
    fragment& front = c.receive_queue.front();
    const uint32_t size = front.size();
    uint32_t taken = size;
    if (size > max_bytes) {
      taken = uint32_t(max_bytes);
      out[count++] = front.share(0, taken);
      front.trim_front(taken);
    } else {
      const uint32_t charge = front.owner()->charge;
      out[count++] = c.receive_queue.pop();
      c.receive_charge -= charge;
      c.taken_charge += charge;
    }
    c.receive_bytes -= taken;
    c.taken_bytes += taken;
    max_bytes -= taken;
  }
  if (count == 0 && c.receive_bytes == 0 && c.failure && !c.fin_received) {
    return *c.failure;
  }
  return count;
}

size_t core::peek(const connection& c, std::span<fragment> out, size_t max_bytes) const noexcept {
  size_t count = 0;
  for (uint32_t i = c.receive_queue.head(); i != c.receive_queue.tail() && count < out.size() && max_bytes; ++i) {
    const fragment& f = c.receive_queue.at(i);
    const auto n = uint32_t(std::min<size_t>(f.size(), max_bytes));
    out[count++] = f.share(0, n);
    max_bytes -= n;
  }
  return count;
}

void core::consume(connection& c, size_t n) noexcept {
  CHECK(n <= c.taken_bytes);
  uint32_t charge = c.taken_charge;
  if (n != c.taken_bytes) {
    charge = uint32_t(uint64_t(charge) * n / c.taken_bytes);
  }
  c.taken_bytes -= uint32_t(n);
  c.taken_charge -= charge;
  _receive_memory -= charge;
  if (c.receive_queue.empty()) {
    c.receive_queue.shrink(_memory);
  }
  if (!may_receive(c.st)) {
    return;
  }
  announce_window(c);
}

// RFC 9293 3.10.4.
void core::close(connection& c) noexcept {
  if (c.fin_queued) {
    return;
  }
  switch (c.st) {
    case state::syn_sent:
      if (c.send_bytes == 0) {
        become_closed(c);
        post(c, connection_closed);
        reap();
        return;
      }
      break;
    case state::syn_received:
      break;
    case state::established:
      c.st = state::fin_wait_1;
      break;
    case state::close_wait:
      c.st = state::last_ack;
      break;
    default:
      return;
  }
  c.fin_queued = true;
  want_output(c);
}

void core::close_receive(connection& c, unread rest) noexcept {
  c.receive_closed = true;
  if (rest == unread::keep) {
    return;
  }
  c.unread_lost |= c.receive_bytes != 0;
  discard_received(c);
  if (may_receive(c.st)) {
    announce_window(c);
  }
}

// RFC 9293 3.10.5.
void core::abort(connection& c) noexcept {
  if (c.st == state::closed) {
    return;
  }
  if (c.st != state::syn_sent) {
    reply_reset(c);
  }
  c.failure = errc::connaborted;
  become_closed(c);
  discard_received(c);
  post(c, connection_closed);
  reap();
}

void core::release(connection& c, instant now) noexcept {
  CHECK(c.held);
  c.held = false;
  _events.remove(c.source);
  // RFC 1122 4.2.2.13, RFC 2525 2.17: a FIN would say that all was read. RFC 9293 3.10.4 has no linger; a host whose
  // patience is zero wants no TIME-WAIT either.
  const bool reset = c.receive_bytes || c.unread_lost || (c.options.linger && *c.options.linger == duration{});
  // What the application still holds is its own now.
  c.receive_closed = true;
  discard_received(c);
  _receive_memory -= c.taken_charge;
  c.taken_bytes = 0;
  c.taken_charge = 0;
  if (c.st == state::closed) {
    destroy(c);
  } else if (reset) {
    abort(c);
  } else if (c.st == state::fin_wait_2) {
    arm(c, timer::linger, now + _config.fin_wait2);
  } else {
    close(c);
  }
}

void core::watch_sent(connection& c) noexcept {
  c.sent_watched = true;
  tell_sent(c);
}

void core::tell_sent(connection& c) noexcept {
  if (c.send_bytes == 0 && (c.st == state::closed || !c.fin_unacknowledged())) {
    c.sent_watched = false;
    post(c, connection_sent);
  }
}

std::optional<errc> core::take_error(connection& c) noexcept {
  if (c.failure && !std::exchange(c.failure_taken, true)) {
    return c.failure;
  }
  if (const uint8_t soft = std::exchange(c.trouble.soft_error, uint8_t(0))) {
    return errc(soft);
  }
  return std::nullopt;
}

size_t core::send_room(const connection& c) const noexcept {
  const uint64_t most = allowance(c.send_limit, _config.send_guaranteed_bytes, _send_memory, _config.send_memory_max);
  const uint32_t charge = c.send_charge();
  return charge < most ? most - charge : 0;
}

}  // namespace solaster::net::tcp

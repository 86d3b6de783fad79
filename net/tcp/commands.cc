// What the host asks for.
// Spec: RFC 9293 3.10.1 to 3.10.5.
#include <algorithm>

#include "net/tcp/core.hh"
#include "net/tcp/isn.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

result<connection*> core::connect(endpoint local, endpoint remote, void* cookie, instant now) noexcept {
  if (remote.port == 0 || remote.address.any()) {
    return errc::addrnotavail;
  }
  const path way = TRY(_ip.find_path(remote.address, local.address));
  uint16_t port = local.port;
  if (port == 0) {
    const auto used = [](void* context, const four_tuple& t) noexcept {
      return static_cast<const core*>(context)->tuple_used(flow_key::of(t));
    };
    port = TRY(_ip.choose_port(way.source, remote, used, this));
  }
  const flow_key key = flow_key::of(way.source, port, remote.address, remote.port);
  if (tuple_used(key)) {
    return errc::addrinuse;
  }
  connection* c = make_connection(key, way);
  if (!c) {
    return errc::nomem;
  }
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

result<listener*> core::listen(endpoint local, uint32_t backlog, void* cookie) noexcept {
  const auto taken = [&](uint16_t port) {
    const auto& bucket = _ports[port % listener_buckets];
    for (const listener* l = bucket.front(); l; l = bucket.next(l)) {
      if (l->local.port == port &&
          (l->local.address == local.address || l->local.address.any() || local.address.any())) {
        return true;
      }
    }
    return false;
  };
  if (local.port == 0) {
    const uint32_t ports = _port_max - _port_min + 1u;
    const auto first = uint32_t(_random.below(ports));
    for (uint32_t i = 0; i < ports && local.port == 0; ++i) {
      const auto port = uint16_t(_port_min + (first + i) % ports);
      if (!taken(port)) {
        local.port = port;
      }
    }
  }
  if (local.port == 0 || taken(local.port)) {
    return errc::addrinuse;
  }
  listener* l = _listeners.make(local, std::max(backlog, 1u));
  if (!l) {
    return errc::nomem;
  }
  l->source.cookie = cookie;
  _ports[local.port % listener_buckets].push_back(l);
  return l;
}

result<connection*> core::accept(listener& l, void* cookie) noexcept {
  connection* c = l.queue.pop_front();
  if (!c) {
    return errc::again;
  }
  --l.waiting;
  c->owner = nullptr;
  c->held = true;
  c->source.cookie = cookie;
  if (c->receive_bytes || c->fin_received) {
    post(*c, connection_readable);
  }
  return c;
}

// Nobody will accept what waits: it is reset, like what would come next.
void core::release(listener& l, instant now) noexcept {
  while (connection* c = l.queue.front()) {
    abort(*c, now);
  }
  for (auto& list : _half_open_levels) {
    for (half_open* h = list.front(); h;) {
      half_open* next = list.next(h);
      if (h->owner == &l) {
        destroy(*h);
      }
      h = next;
    }
  }
  _ports[l.local.port % listener_buckets].remove(&l);
  _listeners.destroy(&l);
}

result<size_t> core::send(connection& c, std::span<fragment> data, instant) noexcept {
  if (c.failure) {
    return *c.failure;
  }
  if (c.fin_queued || !may_send(c.st)) {
    return errc::pipe;
  }
  const size_t room = send_room(c);
  size_t taken = 0;
  bool short_of_room = false;
  for (fragment& f : data) {
    const uint32_t size = f.size();
    if (size == 0) {
      f.reset();
      continue;
    }
    if (taken == room) {
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
    if (size > room - taken) {
      const auto part = uint32_t(room - taken);
      c.send_queue.push(f.share(0, part));
      f.trim_front(part);
      taken = room;
      short_of_room = true;
      break;
    }
    taken += size;
    c.send_queue.push(std::move(f));
  }
  c.send_bytes += uint32_t(taken);
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

void core::consume(connection& c, size_t n, instant) noexcept {
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
  // RFC 9293 3.8.6.2.2: tell the peer only when the window has grown by something, and when it was rather small.
  const int32_t window = std::max(c.rcv_adv - c.rcv_nxt, 0);
  if (uint32_t(window) * 2 > c.receive_limit) {
    return;
  }
  const uint32_t free = receive_free(c);
  if (free >= 2u * uint32_t(window) && free - uint32_t(window) >= std::min<uint32_t>(c.mss, c.receive_limit / 2)) {
    c.ack_now = true;
    want_output(c);
  }
}

// RFC 9293 3.10.4.
void core::close(connection& c, instant) noexcept {
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

void core::close_receive(connection& c, instant) noexcept {
  c.receive_closed = true;
  discard_received(c);
}

// RFC 9293 3.10.5.
void core::abort(connection& c, instant) noexcept {
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
  // What the application still holds is its own now.
  c.receive_closed = true;
  discard_received(c);
  _receive_memory -= c.taken_charge;
  c.taken_bytes = 0;
  c.taken_charge = 0;
  switch (c.st) {
    case state::closed:
      destroy(c);
      return;
    case state::syn_sent:
      if (c.send_bytes == 0) {
        become_closed(c);
      } else {
        close(c, now);
      }
      break;
    case state::fin_wait_2:
      arm(c, timer::linger, now + _config.fin_wait2);
      break;
    default:
      close(c, now);
      break;
  }
  reap();
}

void core::set_nodelay(connection& c, bool on) noexcept {
  c.nodelay = on;
  if (on && c.send_bytes > c.flight() && synchronized(c.st)) {
    want_output(c);
  }
}

void core::set_keepalive(connection& c, bool on, duration idle, duration interval, uint32_t probes) noexcept {
  c.keepalive = on;
  c.keepalive_idle = idle;
  c.keepalive_interval = interval;
  c.keepalive_probes = probes;
  c.keepalive_sent = 0;
  if (!on || c.st == state::closed) {
    disarm(c, timer::keepalive);
  } else if (synchronized(c.st)) {
    arm(c, timer::keepalive, c.last_received + idle);
  }
}

void core::watch_sent(connection& c) noexcept {
  if (c.send_bytes == 0) {
    post(c, connection_sent);
  } else {
    c.sent_watched = true;
  }
}

size_t core::send_room(const connection& c) const noexcept {
  return c.send_bytes < _config.send_buffer_bytes ? _config.send_buffer_bytes - c.send_bytes : 0;
}

}  // namespace solaster::net::tcp

// Who owns which port, and what connections are set to before they have said a word.
//
// A port is a listener's, a reservation's, or a connection's by its four-tuple. A reservation is a name without a
// socket behind it: bind() before anybody knows whether listen() or connect() follows.
// Spec: RFC 9293 3.10.1.
#include <algorithm>

#include "net/host/ports.hh"
#include "net/tcp/core.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

namespace {
bool overlap(endpoint a, endpoint b) noexcept {
  return a.port == b.port && (a.address == b.address || a.address.any() || b.address.any());
}
}  // namespace

listener* core::find_listener(ip_address address, uint16_t port) const noexcept {
  listener* any = nullptr;
  const auto& bucket = _ports[port % port_buckets];
  for (listener* l = bucket.front(); l; l = bucket.next(l)) {
    if (l->local.port != port) {
      continue;
    }
    if (l->local.address == address) {
      return l;
    }
    if (l->local.address.any()) {
      any = l;
    }
  }
  return any;
}

bool core::port_taken(endpoint local, const reservation* mine, bool reuse) const noexcept {
  const auto& listeners = _ports[local.port % port_buckets];
  for (const listener* l = listeners.front(); l; l = listeners.next(l)) {
    if (overlap(l->local, local)) {
      return true;
    }
  }
  const auto& reserved = _reserved[local.port % port_buckets];
  for (const reservation* r = reserved.front(); r; r = reserved.next(r)) {
    if (r != mine && overlap(r->local, local) && !(reuse && r->reuse)) {
      return true;
    }
  }
  return false;
}

// Linear in the number of flows: asked when a fixed port is reserved, which servers do once.
bool core::port_of_a_flow(endpoint local) const noexcept {
  bool found = false;
  _flows.for_each([&](const flow* f) { found |= overlap({f->key.local(), f->key.local_port()}, local); });
  return found;
}

// 0: none is free.
uint16_t core::choose_listening_port(ip_address address) noexcept {
  return find_port(_port_min, _port_max, uint32_t(_random.next()),
                   [&](uint16_t port) { return !port_taken({address, port}, nullptr, false); })
      .value_or(0);
}

result<reservation*> core::reserve(endpoint local, bool reuse) noexcept {
  if (local.port == 0) {
    local.port = choose_listening_port(local.address);
    if (local.port == 0) {
      return errc::addrinuse;
    }
  } else if (port_taken(local, nullptr, reuse) || (!reuse && port_of_a_flow(local))) {
    return errc::addrinuse;
  }
  reservation* r = _reservations.make(local, reuse);
  if (!r) {
    return errc::nomem;
  }
  _reserved[local.port % port_buckets].push_back(r);
  return r;
}

void core::release(reservation& r) noexcept {
  _reserved[r.local.port % port_buckets].remove(&r);
  _reservations.destroy(&r);
}

result<listener*> core::listen(endpoint local, const reservation* r, uint32_t backlog, void* cookie) noexcept {
  if (local.port == 0) {
    local.port = choose_listening_port(local.address);
  }
  if (local.port == 0 || port_taken(local, r, r && r->reuse)) {
    return errc::addrinuse;
  }
  listener* l = _listeners.make(local, std::max(backlog, 1u));
  if (!l) {
    return errc::nomem;
  }
  l->source.cookie = cookie;
  _ports[local.port % port_buckets].push_back(l);
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
void core::release(listener& l) noexcept {
  while (connection* c = l.queue.front()) {
    abort(*c);
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
  _ports[l.local.port % port_buckets].remove(&l);
  _listeners.destroy(&l);
}

// ---- what connections are set to

// Of a listener, or of the host before the handshake.
void core::adopt(connection& c, const connection_options& options) noexcept {
  c.options = options;
  c.send_limit = options.send_buffer_bytes ? options.send_buffer_bytes : _config.send_buffer_bytes;
  c.receive_limit = options.receive_buffer_bytes ? options.receive_buffer_bytes : _config.receive_buffer_bytes;
}

void core::set_options(connection& c, const connection_options& options) noexcept {
  const uint32_t receive_limit = c.receive_limit;
  const uint32_t asked = options.receive_buffer_bytes;
  adopt(c, options);
  if (c.st == state::syn_sent && c.snd_max == c.iss) {
    c.rcv_scale = scale_for(c.receive_limit);
  } else if (asked) {
    c.receive_limit = std::min(asked, window_unscaled_max << c.rcv_scale);
  } else {
    c.receive_limit = receive_limit;
  }
  set_nodelay(c, options.nodelay);
  set_keepalive(c, options.keepalive, options.keepalive_idle, options.keepalive_interval, options.keepalive_probes);
}

void core::set_nodelay(connection& c, bool on) noexcept {
  c.options.nodelay = on;
  if (on && c.send_bytes > c.flight() && synchronized(c.st)) {
    want_output(c);
  }
}

void core::set_keepalive(connection& c, bool on, duration idle, duration interval, uint32_t probes) noexcept {
  c.options.keepalive = on;
  c.options.keepalive_idle = idle;
  c.options.keepalive_interval = interval;
  c.options.keepalive_probes = probes;
  c.keepalive_sent = 0;
  if (!on || c.st == state::closed) {
    disarm(c, timer::keepalive);
  } else if (synchronized(c.st)) {
    arm(c, timer::keepalive, c.last_received + idle);
  }
}

}  // namespace solaster::net::tcp

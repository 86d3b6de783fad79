// What the network says about our connections: errors of routers, a path that takes less, no way out, an address that
// is no longer ours.
// Spec: RFC 5927 (believed only if it quotes something in flight), RFC 5461, RFC 1122 4.2.3.9, RFC 1191.
#include <algorithm>

#include "net/tcp/core.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

void core::icmp_error(const four_tuple& tuple, seq quoted, errc error, bool hard, uint32_t mtu) noexcept {
  flow* f = _flows.find(flow_key::of(tuple));
  if (!f || f->kind != flow_kind::connection) {
    return;
  }
  auto& c = static_cast<connection&>(*f);
  if (quoted < c.snd_una || quoted >= c.snd_max) {
    return;
  }
  if (error == errc::msgsize) {
    lower_path_mtu(c, mtu);
  } else if (hard && !synchronized(c.st)) {
    // RFC 5461: only an open that has not succeeded is given up for a hint.
    fail(c, error);
  } else {
    c.trouble.soft_error = uint8_t(error);
  }
  reap();
}

// Everything in flight is cut anew and sent again: a loss that says nothing about congestion (RFC 1191 6.5). An MTU
// that is not smaller is an old message, or a lie; one below every real link's, too.
void core::lower_path_mtu(connection& c, uint32_t mtu) noexcept {
  const uint32_t believed = std::max(mtu, path_mtu_min);
  if (believed >= c.way.mtu) {
    return;
  }
  c.way.mtu = uint16_t(believed);
  set_mss(c, std::min<uint32_t>(c.mss, believed - ip_header_length - tcp_header_min));
  if (synchronized(c.st) && c.outstanding()) {
    rewind(c);
    c.timing = false;
    want_output(c);
  }
}

void core::route_failed(ip_address remote, errc error) noexcept {
  for (connection* c = _all.front(); c; c = _all.next(c)) {
    if (c->key.remote() != remote || c->st == state::closed) {
      continue;
    }
    if (synchronized(c->st)) {
      c->trouble.soft_error = uint8_t(error);
    } else {
      fail(*c, error);
    }
  }
  reap();
}

void core::address_gone(ip_address local) noexcept {
  for (connection* c = _all.front(); c; c = _all.next(c)) {
    if (c->key.local() == local && c->st != state::closed) {
      fail(*c, errc::connaborted);
    }
  }
  for (auto& list : _half_open_levels) {
    for (half_open* h = list.front(); h;) {
      half_open* next = list.next(h);
      if (h->key.local() == local) {
        destroy(*h);
      }
      h = next;
    }
  }
  for (time_wait* t = _time_wait_list.front(); t;) {
    time_wait* next = _time_wait_list.next(t);
    if (t->key.local() == local) {
      destroy(*t);
    }
    t = next;
  }
  reap();
}

}  // namespace solaster::net::tcp

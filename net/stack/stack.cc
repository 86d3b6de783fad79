#include "net/stack/stack.hh"

#include <algorithm>
#include <new>

#include "net/stack/impl.hh"

namespace solaster::net {

// ---- life

stack::impl::impl(const stack_config& c, const steering& s, memory& m, packet_slab& packets) noexcept
    : config(c),
      steer(s),
      mem(m),
      slab(packets),
      below(config, m, packets, stats),
      neighbours(config, below, events, stats),
      ip(config, steer, below, neighbours, stats),
      control(config, below, ip, stats),
      udp(config, m, packets, below, ip, events, stats),
      dhcp(config, hash_key::derive(c.secret, 'd').k0),
      tcp(config, m, ip, events, stats) {}

stack* stack::make(const stack_config& config, const steering& steer, memory& m, packet_slab& slab, instant) noexcept {
  static_assert(alignof(impl) <= 64 && alignof(stack) <= alignof(impl));
  void* raw = m.allocate(sizeof(impl), alignof(impl));
  if (!raw)
    return nullptr;
  void* door = m.allocate(sizeof(stack), alignof(stack));
  if (!door) {
    m.deallocate(raw, sizeof(impl), alignof(impl));
    return nullptr;
  }
  auto* s = new (door) stack;
  s->_impl = new (raw) impl(config, steer, m, slab);
  s->_tcp = &s->_impl->tcp;
  if (s->_impl->made())
    return s;
  destroy(s);
  return nullptr;
}

void stack::destroy(stack* s) noexcept {
  if (!s)
    return;
  memory& m = s->_impl->mem;
  s->_impl->~impl();
  m.deallocate(s->_impl, sizeof(impl), alignof(impl));
  s->~stack();
  m.deallocate(s, sizeof(stack), alignof(stack));
}

// ---- configuration

void stack::set_interface(const interface_config& config) noexcept {
  _impl->below.set(config);
  _impl->neighbours.invalidate();
  _impl->update_plain();
}

void stack::impl::update_plain() noexcept {
  const bool up = below.present() && ip.address();
  plain = {up ? below.own_mac_word() : UINT64_MAX, __builtin_bswap32(ip.own().value)};
}

void stack::set_address(const address_config& config, instant now) noexcept {
  // The address that our own DHCP client has got comes back from a host that tells all its shards: the lease goes on.
  const auto& have = _impl->ip.address();
  if (have && have->address == config.address && _impl->dhcp.holds(config.address))
    return;
  _impl->dhcp.stop();
  _impl->set_address(config, now);
}

void stack::clear_address(instant now) noexcept {
  _impl->dhcp.stop();
  _impl->clear_address(now);
}

void stack::impl::set_address(const address_config& c, instant now) noexcept {
  const ipv4_address old = ip.own();
  ip.set_address(c);
  update_plain();
  if (old != c.address)
    address_gone(old, now);
  if (config.shard == 0 && below.present())
    neighbours.announce();
}

void stack::resolve_gateway(instant now) noexcept {
  const auto& c = _impl->ip.address();
  if (c && !c->gateway.any() && c->gateway != c->address && _impl->ip.on_link(c->gateway))
    _impl->neighbours.resolve(c->gateway, now);
}

void stack::impl::clear_address(instant now) noexcept {
  const ipv4_address old = ip.own();
  ip.clear_address();
  update_plain();
  address_gone(old, now);
}

// Nothing that is bound to it will ever hear or be heard again.
void stack::impl::address_gone(ipv4_address old, instant now) noexcept {
  if (old.any())
    return;
  tcp.address_gone(old, now);
  udp.address_gone(old);
}

std::optional<address_config> stack::address() const noexcept {
  return _impl->ip.address();
}

void stack::start_dhcp(instant now) noexcept {
  _impl->dhcp.start(_impl->below.interface().mac, now);
  _impl->after_dhcp(dhcp_client::change::none, now);
}

void stack::learn_neighbour(ipv4_address address, mac_address mac, instant now, uint32_t bits) noexcept {
  if (_impl->ip.on_link(address))
    _impl->neighbours.learn(address, mac, bits, now);
}

// What the client wants done: an address set or taken away, a message sent.
void stack::impl::after_dhcp(dhcp_client::change change, instant now) noexcept {
  if (change == dhcp_client::change::acquired) {
    const dhcp_lease& l = dhcp.lease();
    set_address({l.address, l.prefix_length, l.gateway}, now);
    events.remove(lost);
    events.post(configured, 1);
  } else if (change == dhcp_client::change::lost) {
    clear_address(now);
    events.remove(configured);
    events.post(lost, 1);
  }
  auto m = dhcp.take_message(now);
  if (!m)
    return;
  packet_ptr p = below.make_packet(udp_header_size + dhcp_query::size_max);
  if (!p)
    return stats.drop(drop_reason::no_memory);
  m->query.emit(p->extend(dhcp_query::size_max));
  // The room behind link_header_room is the payload's; the UDP header goes where the IP header would.
  udp.add_header(*p, {m->source, dhcp_client_port}, {m->destination, dhcp_server_port});
  if (m->destination == ipv4_address::broadcast())
    ip.output_broadcast(m->source, m->destination, ip_protocol::udp, std::move(p));
  else
    ip.output(m->source, m->destination, ip_protocol::udp, std::move(p), now);
}

// ---- time

void stack::expire(instant now) noexcept {
  _impl->neighbours.expire(now);
  _impl->report_unresolved(now);
  if (_impl->dhcp.next_deadline() <= now)
    _impl->after_dhcp(_impl->dhcp.expire(now), now);
  _impl->tcp.expire(now);
}

// Packets that no neighbour answered for: who sent them is told (RFC 1122 2.4). An open fails: unlike a router's word,
// this is our own.
void stack::impl::tell_unresolved(instant now) noexcept {
  packet_list list = neighbours.take_unresolved();
  ipv4_address told;
  while (packet_ptr p = list.pop_front()) {
    stats.drop(drop_reason::neighbour_unresolved);
    auto report = read_own_flow(p->front().data(), p->front().size());
    p.reset();
    if (!report)
      continue;
    if (report->protocol == ip_protocol::udp) {
      udp.icmp_error(*report);
    } else if (const ipv4_address to = report->flow.remote.address; to != told) {
      tcp.route_failed(to, report->error, now);
      told = to;
    }
  }
}

instant stack::next_deadline() const noexcept {
  if (_impl->below.has_looped())
    return {};
  return std::min({_impl->tcp.next_deadline(), _impl->neighbours.next_deadline(), _impl->dhcp.next_deadline()});
}

// ---- commands

result<udp_socket*> stack::udp_open(endpoint local, void* cookie, instant) noexcept {
  return _impl->udp.open(local, cookie);
}
endpoint stack::udp_local(const udp_socket* s) const noexcept {
  return s->local;
}
result<> stack::udp_send(udp_socket* s, datagram d, instant now) noexcept {
  return _impl->udp.send(s, std::move(d), now);
}
result<datagram> stack::udp_receive(udp_socket* s) noexcept {
  return _impl->udp.receive(s);
}
std::optional<udp_error> stack::udp_take_error(udp_socket* s) noexcept {
  return std::exchange(s->error, std::nullopt);
}
void stack::udp_close(udp_socket* s, instant) noexcept {
  _impl->udp.close(s);
}

// ---- effects

void stack::transmit(transmit_sink& sink, instant now) noexcept {
  _impl->below.begin(sink);
  _impl->tcp.transmit(now);
  if (_impl->below.has_looped()) [[unlikely]]
    _impl->take_looped(now);
  _impl->below.end();
  _impl->report_unresolved(now);
  DCHECK(++_impl->turns % 64 != 0 || is_valid());
}

// What we sent to ourselves arrives, and what that makes us send. A conversation without end is left after a burst.
void stack::impl::take_looped(instant now) noexcept {
  for (uint32_t left = config.loopback_burst; left > 0 && below.has_looped(); --left) {
    packet_ptr p = below.take_looped();
    if (!p)
      continue;
    if (config.shards > 1) {
      below.hand_to_sink(std::move(p));
      continue;
    }
    ++stats.received;
    input(std::move(p), now);
    if (!below.has_looped())
      tcp.transmit(now);
  }
}

std::optional<event> stack::next_event() noexcept {
  auto [source, bits] = _impl->events.pop();
  if (!source)
    return {};
  if (source->kind() != event_kind::connection) [[unlikely]]
    return _impl->describe(*source, bits);
  event e;
  e.bits = bits;
  e.cookie = source->cookie;
  e.connection = static_cast<tcp::connection*>(source->object());
  return e;
}

event stack::impl::describe(event_source& s, uint32_t bits) noexcept {
  event e;
  e.kind = s.kind();
  e.bits = bits;
  e.cookie = s.cookie;
  switch (s.kind()) {
    case event_kind::connection:
      break;  // by next_event itself
    case event_kind::listener:
      e.listener = static_cast<tcp::listener*>(s.object());
      break;
    case event_kind::udp:
      e.udp = static_cast<udp_socket*>(s.object());
      break;
    case event_kind::neighbour_learned: {
      const auto fact = neighbours.describe(s);
      e.address = fact.address;
      e.mac = fact.mac;
      break;
    }
    case event_kind::address_configured:
      if (const auto& a = ip.address()) {
        e.address = a->address;
        e.prefix_length = a->prefix_length;
        e.gateway = a->gateway;
      }
      break;
    case event_kind::address_lost:
      break;
  }
  return e;
}

const stack_stats& stack::stats() const noexcept {
  return _impl->stats;
}

bool stack::is_valid() const noexcept {
  const impl& i = *_impl;
  return i.events.is_valid() && i.below.is_valid() && i.neighbours.is_valid() && i.udp.is_valid() && i.tcp.is_valid();
}

}  // namespace solaster::net

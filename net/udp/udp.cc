#include "net/udp/udp.hh"

#include <new>

#include "net/host/ports.hh"
#include "net/packet/heap_buffer.hh"
#include "net/wire/checksum.hh"

namespace solaster::net {

udp_layer::udp_layer(const stack_config& config, memory& m, packet_slab& slab, link& l, ipv4& ip, event_queue& events,
                     stack_stats& stats) noexcept
    : _config(config),
      _memory(m),
      _slab(slab),
      _link(l),
      _ip(ip),
      _events(events),
      _stats(stats),
      _random(hash_key::derive(config.secret, 'u').k0 ^ config.shard) {}

udp_layer::~udp_layer() {
  for (auto& bucket : _table)
    while (bucket)
      close(bucket);
}

// ---- sockets

udp_socket* udp_layer::find(ipv4_address destination, uint16_t port) noexcept {
  for (udp_socket* s = _table[port % buckets]; s; s = s->next)
    if (s->local.port == port && (s->local.address.any() || s->local.address == destination))
      return s;
  return nullptr;
}

bool udp_layer::taken(endpoint local) noexcept {
  for (udp_socket* s = _table[local.port % buckets]; s; s = s->next)
    if (s->local.port == local.port &&
        (s->local.address.any() || local.address.any() || s->local.address == local.address))
      return true;
  return false;
}

result<udp_socket*> udp_layer::open(endpoint local, void* cookie) noexcept {
  if (_count >= _config.udp_sockets_max)
    return errc::nobufs;
  if (!local.address.any() && !_ip.local(local.address) &&
      _ip.kind_of(local.address) == ipv4::destination_kind::not_ours)
    return errc::addrnotavail;
  if (local.port == 0) {
    local.port = TRY(find_port(_config.ephemeral_port_min, _config.ephemeral_port_max, uint32_t(_random.next()),
                               [&](uint16_t port) { return !taken({local.address, port}); }));
  } else if (taken(local)) {
    return errc::addrinuse;
  }
  void* raw = _memory.allocate(sizeof(udp_socket), alignof(udp_socket));
  if (!raw)
    return errc::nomem;
  auto* s = new (raw) udp_socket(local);
  s->source.cookie = cookie;
  s->next = _table[local.port % buckets];
  _table[local.port % buckets] = s;
  ++_count;
  return s;
}

void udp_layer::close(udp_socket* s) noexcept {
  udp_socket** at = &_table[s->local.port % buckets];
  while (*at != s)
    at = &(*at)->next;
  *at = s->next;
  --_count;
  s->~udp_socket();
  _memory.deallocate(s, sizeof(udp_socket), alignof(udp_socket));
}

// ---- in

packet_ptr udp_layer::input(ipv4_address source, ipv4_address destination, packet_ptr p) noexcept {
  udp_view view;
  if (!view.read(p->front().data(), p->front().size(), p->size()))
    return _stats.drop(drop_reason::udp_malformed), nullptr;
  p->truncate(view.length());
  if (view.has_checksum() && p->offload.checksum == checksum_state::none &&
      !checksum_good(checksum_packet(*p, 0, p->size(),
                                     pseudo_header_sum(source, destination, uint8_t(ip_protocol::udp), p->size()))))
    return _stats.drop(drop_reason::udp_checksum), nullptr;
  udp_socket* s = find(destination, view.destination_port());
  if (!s)
    return _stats.drop(drop_reason::udp_no_socket), std::move(p);
  p->note.set(udp_socket::addresses{{source, view.source_port()}, destination});
  p->trim_front(udp_header_size);
  p->offload = {};
  keep(s, std::move(p));
  return nullptr;
}

void udp_layer::keep(udp_socket* s, packet_ptr p) noexcept {
  // A small payload does not pin a ring buffer.
  if (p->size() <= _config.tcp.copy_break_bytes) {
    packet_ptr copy = _slab.make();
    fragment f = copy ? make_heap_fragment(_memory, p->size()) : fragment{};
    if (f) {
      copy_out(*p, 0, f.data(), p->size());
      _stats.copied_bytes += p->size();
      copy->append(std::move(f));
      copy->note = p->note;
      p = std::move(copy);
    }
  }
  const uint32_t charge = p->charge();
  if (charge > _config.udp_receive_bytes_max - s->charge)
    return _stats.drop(drop_reason::udp_buffer_full);
  s->charge += charge;
  s->queue.push_back(std::move(p));
  _events.post(s->source, udp_readable);
}

result<datagram> udp_layer::receive(udp_socket* s) noexcept {
  packet_ptr p = s->queue.pop_front();
  if (!p)
    return errc::again;
  s->charge -= p->charge();
  datagram d;
  const auto addresses = p->note.get<udp_socket::addresses>();
  d.remote = addresses.remote;
  d.local = {addresses.local, s->local.port};
  d.payload = std::move(p);
  return d;
}

void udp_layer::icmp_error(const icmp_report& report) noexcept {
  udp_socket* s = find(report.flow.local.address, report.flow.local.port);
  if (!s)
    return;
  s->error = udp_error{report.flow.remote, report.error, report.mtu};
  _events.post(s->source, udp_failed);
}

void udp_layer::address_gone(ipv4_address address) noexcept {
  for (udp_socket* first : _table)
    for (udp_socket* s = first; s; s = s->next)
      if (s->local.address == address) {
        s->error = udp_error{.remote = {}, .error = errc::addrnotavail};
        _events.post(s->source, udp_failed);
      }
}

// ---- out

bool udp_layer::add_header(packet& p, endpoint source, endpoint destination) noexcept {
  const uint32_t length = p.size() + udp_header_size;
  if (length > 65535 - ipv4_header_min)
    return false;
  std::byte* at = p.prepend(udp_header_size);
  udp_header{source.port, destination.port, uint16_t(length)}.emit(at);
  const uint64_t pseudo = pseudo_header_sum(source.address, destination.address, uint8_t(ip_protocol::udp), length);
  if (_link.interface().tx_checksum) {
    store_raw<uint16_t>(at + udp_checksum_offset, checksum_fold(pseudo));
    p.offload = {.checksum = checksum_state::partial, .checksum_start = 0, .checksum_offset = udp_checksum_offset};
  } else {
    const uint16_t sum = uint16_t(~checksum_fold(checksum_packet(p, 0, length, pseudo)));
    store_raw<uint16_t>(at + udp_checksum_offset, sum ? sum : uint16_t(0xffff));
    p.offload = {};
  }
  return true;
}

// As for TCP, and broadcast on the link too.
result<path> udp_layer::find_way(ipv4_address to, ipv4_address from) noexcept {
  if (_ip.kind_of(to) != ipv4::destination_kind::broadcast)
    return _ip.find_path(to,
                         from == ipv4_address::broadcast() || from == _ip.subnet_broadcast() ? ipv4_address{} : from);
  if (_ip.own().any())
    return errc::netunreach;
  return path{.source = _ip.own(), .mtu = _link.interface().mtu};
}

result<> udp_layer::send(udp_socket* s, datagram d, instant now) noexcept {
  if (d.remote.port == 0 || d.remote.address.any())
    return errc::inval;
  const ipv4_address chosen = d.local.address.any() ? s->local.address : d.local.address;
  const auto way = TRY(find_way(d.remote.address, chosen));
  const uint32_t size = d.payload ? d.payload->size() : 0;
  if (size + udp_header_size + ipv4_header_min > way.mtu)
    return errc::msgsize;
  if (!_link.accepts())
    return errc::again;

  packet_ptr p = _link.make_packet(udp_header_size);
  if (!p)
    return errc::nomem;
  // The payload's first fragment may lie in the middle of what the application still uses: the headers get their own.
  if (d.payload && d.payload->fragment_count() < packet::fragments_max) {
    for (uint32_t i = 0, n = d.payload->fragment_count(); i < n; ++i)
      if (fragment f = d.payload->pop_front(); !f.empty())
        p->append(std::move(f));
  } else if (d.payload) {
    fragment flat = make_heap_fragment(_memory, size);
    if (!flat)
      return errc::nomem;
    copy_out(*d.payload, 0, flat.data(), size);
    _stats.copied_bytes += size;
    p->append(std::move(flat));
  }
  if (!add_header(*p, {way.source, s->local.port}, d.remote))
    return errc::msgsize;
  _ip.output(way.source, d.remote.address, ip_protocol::udp, std::move(p), now);
  return {};
}

bool udp_layer::is_valid() const noexcept {
  uint32_t count = 0;
  for (uint32_t b = 0; b < buckets; ++b)
    for (const udp_socket* s = _table[b]; s; s = s->next) {
      if (s->local.port % buckets != b || ++count > _count || s->charge > _config.udp_receive_bytes_max)
        return false;
      uint32_t charge = 0;
      for (const packet* p = s->queue.front(); p; p = p->next) {
        if (!p->is_valid())
          return false;
        charge += p->charge();
      }
      if (charge != s->charge || !s->queue.is_valid())
        return false;
    }
  return count == _count;
}

}  // namespace solaster::net

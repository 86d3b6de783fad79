#include "net/ip/ipv4.hh"

#include <cstring>

#include "net/host/ports.hh"

namespace solaster::net {

ipv4::ipv4(const stack_config& config, const steering& steer, link& l, neighbour_cache& neighbours,
           stack_stats& stats) noexcept
    : _config(config),
      _steering(steer),
      _link(l),
      _neighbours(neighbours),
      _stats(stats),
      _port_key(hash_key::derive(config.secret, 'p')) {}

// ---- address and routes

void ipv4::set_address(const address_config& config) noexcept {
  _address = config;
  _own = config.address;
  _mask = config.prefix_length == 0 ? 0 : config.prefix_length >= 32 ? ~0u : ~0u << (32 - config.prefix_length);
  // RFC 3021: links with two addresses have no broadcast address.
  _subnet_broadcast = config.prefix_length >= 31 ? ipv4_address::broadcast() : ipv4_address{_own.value | ~_mask};
  _neighbours.set_address(_own);
  _neighbours.invalidate();
}

void ipv4::clear_address() noexcept {
  _address.reset();
  _own = _subnet_broadcast = {};
  _mask = 0;
  _neighbours.set_address({});
  _neighbours.invalidate();
}

result<ipv4_address> ipv4::next_hop(ipv4_address destination) const noexcept {
  if (_own.any() || !_link.present())
    return errc::netunreach;
  if (destination.any() || destination.loopback() || destination == _own)
    return errc::netunreach;  // local(): looked at before
  if (on_link(destination))
    return destination;
  if (_address->gateway.any())
    return errc::netunreach;
  return _address->gateway;
}

result<path> ipv4::find_path(ip_address destination, ip_address source) noexcept {
  if (local(destination)) {
    if (!source.any() && !local(source))
      return errc::addrnotavail;
    // The checksum stays unfinished: nothing happens to the bytes on this way.
    return path{
        .source = source.any() ? destination : source, .mtu = _config.loopback_mtu, .tx_checksum = true, .gso_max = 0};
  }
  if (!source.any() && source != _own)
    return errc::addrnotavail;
  if (destination.multicast() || kind_of(destination) == destination_kind::broadcast)
    return errc::netunreach;
  if (auto hop = next_hop(destination); !hop)
    return hop.error();
  const interface_config& i = _link.interface();
  return path{
      .source = _own, .mtu = i.mtu, .tx_checksum = i.tx_checksum, .gso_max = i.tso4 && i.tx_checksum ? i.gso_max : 0};
}

result<uint16_t> ipv4::choose_port(ip_address local, endpoint remote, bool (*used)(void*, const four_tuple&) noexcept,
                                   void* context) noexcept {
  // RFC 6056, algorithm 3: a secret offset for each peer, and a counter.
  const uint64_t words[] = {uint64_t(local.value) << 32 | remote.address.value, remote.port};
  const uint32_t offset = uint32_t(siphash24(_port_key, words));
  const auto port = find_port(
      _config.ephemeral_port_min, _config.ephemeral_port_max, offset + _port_counter, [&](uint16_t candidate) {
        ++_port_counter;
        const four_tuple tuple{{local, candidate}, remote};
        const bool here = _config.shards == 1 || _steering.shard_of(_steering.toeplitz(tuple)) == _config.shard;
        return here && !used(context, tuple);
      });
  if (!port)
    return errc::addrnotavail;
  return *port;
}

// ---- the way out

void ipv4::send(ip_address source, ip_address destination, packet_ptr segment, instant now) noexcept {
  auto& d = slot(destination);
  if (d.to != destination || d.from != source || d.generation != _neighbours.generation()) [[unlikely]] {
    output(source, destination, ip_protocol::tcp, std::move(segment), now);
    return remember(source, destination);
  }
  const uint32_t length = segment->size() + ipv4_header_min;
  DCHECK(length <= 65535);
  std::byte* p = segment->prepend(headers);
  std::memcpy(p, d.header.data(), headers);
  std::byte* ip = p + ethernet_header_size;
  store_be16(ip + 2, uint16_t(length));
  uint32_t sum = d.sum + __builtin_bswap16(uint16_t(length));
  sum = (sum & 0xffff) + (sum >> 16);
  sum += sum >> 16;
  store_raw<uint16_t>(ip + 10, uint16_t(~sum));
  segment->offload.checksum_start += headers;
  segment->offload.header_length += headers;
  d.via->used = true;
  _link.put(std::move(segment));
}

// After a packet went the long way: the next one need not.
void ipv4::remember(ipv4_address source, ipv4_address destination) noexcept {
  auto hop = next_hop(destination);
  if (!hop || destination.multicast() || kind_of(destination) == destination_kind::broadcast)
    return;  // a local one, too
  neighbour* n = _neighbours.find_usable(*hop);
  if (!n)
    return;
  auto& d = slot(destination);
  d.to = destination;
  d.from = source;
  d.generation = _neighbours.generation();
  d.via = n;
  ethernet_header{n->mac, _link.interface().mac, ethertype::ipv4}.emit(d.header.data());
  std::byte* ip = d.header.data() + ethernet_header_size;
  ipv4_header{.total_length = 0,
              .ttl = _config.ttl,
              .protocol = uint8_t(ip_protocol::tcp),
              .source = source,
              .destination = destination}
      .emit(ip);
  store_raw<uint16_t>(ip + 10, 0);
  d.sum = checksum_fold(checksum_bytes(ip, ipv4_header_min));
}

bool ipv4::add_ip_header(packet& p, ipv4_address source, ipv4_address destination, ip_protocol protocol) noexcept {
  const uint32_t length = p.size() + ipv4_header_min;
  if (length > 65535)
    return false;
  std::byte* at = p.prepend(ipv4_header_min);
  ipv4_header{.total_length = uint16_t(length),
              .ttl = _config.ttl,
              .protocol = uint8_t(protocol),
              .source = source,
              .destination = destination}
      .emit(at);
  p.offload.checksum_start += headers;
  p.offload.header_length += headers;
  return true;
}

void ipv4::output(ipv4_address source, ipv4_address destination, ip_protocol protocol, packet_ptr p,
                  instant now) noexcept {
  if (kind_of(destination) == destination_kind::broadcast)
    return output_broadcast(source, destination, protocol, std::move(p));
  if (local(destination))
    return loop_back(source, destination, protocol, std::move(p));
  auto hop = next_hop(destination);
  if (!hop || destination.multicast() || !add_ip_header(*p, source, destination, protocol))
    return _stats.drop(drop_reason::no_route);
  _neighbours.send(*hop, std::move(p), now);
}

// RFC 1122 3.2.1.3 (g).
void ipv4::loop_back(ipv4_address source, ipv4_address destination, ip_protocol protocol, packet_ptr p) noexcept {
  if (!add_ip_header(*p, source, destination, protocol))
    return _stats.drop(drop_reason::no_route);
  const mac_address mac = _link.interface().mac;
  ethernet_header{mac, mac, ethertype::ipv4}.emit(p->prepend(ethernet_header::size));
  _link.loop(std::move(p));
}

void ipv4::output_broadcast(ipv4_address source, ipv4_address destination, ip_protocol protocol,
                            packet_ptr p) noexcept {
  if (!_link.present() || !add_ip_header(*p, source, destination, protocol))
    return _stats.drop(drop_reason::no_route);
  _link.put(std::move(p), {mac_address::broadcast(), _link.interface().mac, ethertype::ipv4});
}

}  // namespace solaster::net

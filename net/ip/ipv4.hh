// IPv4 below the transports: our address, the routes, and the way out.
//
// The way out for TCP to a peer that was sent to before is one copy of a prebuilt Ethernet and IP header and a checksum
// update (`destination`); everything else takes the long way through routing and the neighbour cache.
//
// Spec: RFC 791, RFC 1122 3.2-3.3; RFC 6864 (all we send is atomic: DF set, id 0). Owns: address, destination cache.
// Limits: packets above the MTU are not fragmented. Context: shard-local; allocates nothing itself.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "net/device/steering.hh"
#include "net/host/config.hh"
#include "net/host/stats.hh"
#include "net/ip/link.hh"
#include "net/ip/neighbour.hh"
#include "net/ip/output.hh"
#include "net/wire/ipv4.hh"

namespace solaster::net {

class ipv4 final : public ip_output {
 public:
  ipv4(const stack_config& config, const steering& steer, link& l, neighbour_cache& neighbours,
       stack_stats& stats) noexcept;

  void set_address(const address_config& config) noexcept;
  void clear_address() noexcept;
  const std::optional<address_config>& address() const noexcept { return _address; }

  ipv4_address own() const noexcept { return _own; }  // any: none
  ipv4_address subnet_broadcast() const noexcept { return _subnet_broadcast; }

  enum class destination_kind : uint8_t { not_ours, ours, broadcast };
  destination_kind kind_of(ipv4_address destination) const noexcept {
    if (destination == _own) [[likely]]
      return _own.any() ? destination_kind::not_ours : destination_kind::ours;
    return destination == ipv4_address::broadcast() || (destination == _subnet_broadcast && !_own.any())
               ? destination_kind::broadcast
               : destination_kind::not_ours;
  }
  // RFC 1122 3.2.1.3: what may not be a source address.
  bool bad_source(ipv4_address source) const noexcept {
    return source.any() || source.multicast() || source.loopback() || source == _own ||
           kind_of(source) == destination_kind::broadcast;
  }
  // Ours, on the interface or in 127.0.0.0/8: packets to it never leave the host, and none comes from outside.
  bool local(ipv4_address a) const noexcept { return a.loopback() || (a == _own && !a.any()); }
  bool on_link(ipv4_address a) const noexcept { return !_own.any() && (a.value & _mask) == (_own.value & _mask); }
  // Whom to give a packet to `destination` to. netunreach.
  result<ipv4_address> next_hop(ipv4_address destination) const noexcept;

  // Sends a transport's packet: adds the headers. Offload's offsets are the transport's and are moved.
  void output(ipv4_address source, ipv4_address destination, ip_protocol protocol, packet_ptr p, instant now) noexcept;
  // The same by broadcast on the link, whatever the address says: DHCP before there is one.
  void output_broadcast(ipv4_address source, ipv4_address destination, ip_protocol protocol, packet_ptr p) noexcept;

  // --- ip_output
  result<path> find_path(ip_address destination, ip_address source) noexcept override;
  packet_ptr make_packet(uint32_t payload_room) noexcept override { return _link.make_packet(payload_room); }
  bool ready() noexcept override { return _link.ready(); }
  void send(ip_address source, ip_address destination, packet_ptr segment, instant now) noexcept override;
  result<uint16_t> choose_port(ip_address local, endpoint remote, bool (*used)(void*, const four_tuple&) noexcept,
                               void* context) noexcept override;

 private:
  static constexpr uint32_t headers = ethernet_header_size + ipv4_header_min;
  static constexpr uint32_t cache_size = 256;
  // Everything about a (source, destination) pair of TCP that does not change from packet to packet.
  struct destination {
    ipv4_address to, from;
    uint32_t generation = 0;  // of the neighbour cache when this was filled; another one: stale
    uint32_t sum = 0;         // of the IP header with length and checksum zero
    neighbour* via = nullptr;
    std::array<std::byte, headers> header;
  };

  destination& slot(ipv4_address to) noexcept {
    return _cache[(to.value ^ to.value >> 8 ^ to.value >> 16) % cache_size];
  }
  void loop_back(ipv4_address source, ipv4_address destination, ip_protocol protocol, packet_ptr p) noexcept;
  bool add_ip_header(packet& p, ipv4_address source, ipv4_address destination, ip_protocol protocol) noexcept;
  void remember(ipv4_address source, ipv4_address destination) noexcept;

  const stack_config& _config;
  const steering& _steering;
  link& _link;
  neighbour_cache& _neighbours;
  stack_stats& _stats;
  hash_key _port_key;
  uint32_t _port_counter = 0;
  ipv4_address _own, _subnet_broadcast;
  uint32_t _mask = 0;
  std::optional<address_config> _address;
  std::array<destination, cache_size> _cache;
};

}  // namespace solaster::net

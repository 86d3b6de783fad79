// The inside of a stack: its parts, in the order in which they depend on each other, and the way in.
#pragma once

#include "net/host/event_queue.hh"
#include "net/ip/dhcp.hh"
#include "net/ip/icmp.hh"
#include "net/ip/ipv4.hh"
#include "net/ip/link.hh"
#include "net/ip/neighbour.hh"
#include "net/stack/stack.hh"
#include "net/udp/udp.hh"

namespace solaster::net {

struct stack::impl {
  impl(const stack_config& config, const steering& steer, memory& m, packet_slab& slab) noexcept;
  bool made() const noexcept { return below.valid() && tcp.valid(); }

  // --- the way in (receive.cc)
  // Removes the headers if all is as it nearly always is; else leaves the packet alone.
  bool take_plain_tcp(packet& p, tcp::segment_info& info) const noexcept;
  void input(packet_ptr frame, instant now) noexcept;
  void input_arp(packet_ptr p, instant now) noexcept;
  void input_ip(packet_ptr p, bool link_broadcast, instant now) noexcept;
  // From here on the IP header, which was checked, lies in front of the packet's first byte.
  void input_udp(packet_ptr p, uint32_t ip_header, ipv4_address source, ipv4_address destination,
                 ipv4::destination_kind kind, instant now) noexcept;
  void input_dhcp(packet_ptr p, instant now) noexcept;
  void input_icmp(packet_ptr p, ipv4_address source, ipv4_address destination, bool broadcast, instant now) noexcept;
  void deliver(const icmp_report& report, instant now) noexcept;
  bool gather_headers(packet& p) noexcept;
  void take_looped(instant now) noexcept;

  // --- time and addresses (stack.cc)
  void set_address(const address_config& c, instant now) noexcept;
  void clear_address(instant now) noexcept;
  void address_gone(ipv4_address old, instant now) noexcept;
  void after_dhcp(dhcp_client::change change, instant now) noexcept;
  void report_unresolved(instant now) noexcept {
    if (neighbours.has_unresolved()) [[unlikely]]
      tell_unresolved(now);
  }
  void tell_unresolved(instant now) noexcept;
  void update_plain() noexcept;
  event describe(event_source& s, uint32_t bits) noexcept;

  // What take_plain_tcp compares with, as it lies in memory. Nothing matches while there is no interface or address.
  struct {
    uint64_t mac_word = UINT64_MAX;
    uint32_t own = 0;
  } plain;
  const stack_config config;
  const steering steer;
  memory& mem;
  packet_slab& slab;
  uint32_t turns = 0;  // transmit() calls: every so often a debug build walks everything
  stack_stats stats;
  event_queue events;
  event_source configured{event_kind::address_configured, this};
  event_source lost{event_kind::address_lost, this};
  link below;
  neighbour_cache neighbours;
  ipv4 ip;
  icmp control;
  udp_layer udp;
  dhcp_client dhcp;
  tcp::layer tcp;
};

}  // namespace solaster::net

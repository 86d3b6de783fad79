// From an Ethernet frame to a transport. Each step is a check with a drop reason, or passes the packet on.
#include <algorithm>

#include "net/packet/heap_buffer.hh"
#include "net/stack/impl.hh"
#include "net/wire/checksum.hh"
#include "net/wire/tcp.hh"

namespace solaster::net {
namespace {

// All headers that are read through views: Ethernet, IPv4 and TCP at their longest.
constexpr uint32_t views_max = ethernet_header_size + ipv4_header_max + tcp_header_max;

drop_reason reason_of(ipv4_fault fault) {
  switch (fault) {
    case ipv4_fault::version:
      return drop_reason::ip_version;
    case ipv4_fault::header_length:
      return drop_reason::ip_header_length;
    case ipv4_fault::total_length:
      return drop_reason::ip_length;
    default:
      return drop_reason::ip_short;
  }
}

}  // namespace

// Nearly every frame of a server: a TCP segment to us in one fragment, 20 bytes of IP header, nothing odd. The checks
// are those of the long way below, made together; whatever fails one goes the long way and is dropped there with its
// reason.
inline bool stack::impl::take_plain_tcp(packet& p, tcp::segment_info& info) const noexcept {
  constexpr uint32_t headers = ethernet_header_size + ipv4_header_min;
  if (p.fragment_count() != 1 || p.size() < headers + tcp_header_min) [[unlikely]]
    return false;
  const std::byte* f = p.front().data();
  const std::byte* ip_header = f + ethernet_header_size;
  // To our mac; IPv4, 5 words; no fragment, protocol TCP; to our address. Words as they lie in memory.
  if ((load_raw<uint64_t>(f) & 0xffff'ffff'ffff) != plain.mac_word ||
      (load_raw<uint32_t>(f + 12) & 0xffffff) != 0x450008 ||
      (load_raw<uint32_t>(ip_header + 6) & 0xff00ff3f) != uint32_t(ip_protocol::tcp) << 24 ||
      load_raw<uint32_t>(ip_header + 16) != plain.own)
    return false;
  const uint32_t total = load_be16(ip_header + 2);
  if (total < ipv4_header_min || total > p.size() - ethernet_header_size)
    return false;
  if (!ipv4_checksum_ok(ip_header, ipv4_header_min))
    return false;
  const ipv4_address source{load_be32(ip_header + 12)};
  const uint32_t octet = source.value >> 24;
  if (octet - 1 >= 223 || octet == 127 || source == ip.own() || source == ip.subnet_broadcast())
    return false;
  if (p.size() != ethernet_header_size + total)
    p.truncate(ethernet_header_size + total);
  p.strip(headers);
  info = {source, ip.own(), p.offload.checksum};
  return true;
}

void stack::receive(packet_list&& packets, instant now) noexcept {
  impl& i = *_impl;
  while (packet_ptr p = packets.pop_front()) {
    ++i.stats.received;
    tcp::segment_info info;
    if (i.take_plain_tcp(*p, info)) [[likely]]
      i.tcp.input(info, std::move(p), now);
    else
      i.input(std::move(p), now);
  }
  i.report_unresolved(now);
}

void stack::impl::input(packet_ptr p, instant now) noexcept {
  if (p->fragment_count() != 1 && (p->fragment_count() == 0 || !gather_headers(*p))) [[unlikely]]
    return stats.drop(drop_reason::no_memory);
  if (p->offload.looped)
    return input_ip(std::move(p), false, now);
  if (!ethernet_view::check(p->front().size()) || !below.present()) [[unlikely]]
    return stats.drop(drop_reason::ethernet_short);
  const ethernet_view eth(p->front().data());
  bool broadcast = false;
  if (eth.destination_word() != below.own_mac_word()) {
    if (!eth.multicast())
      return stats.drop(drop_reason::ethernet_not_ours);
    broadcast = true;
  }
  const ethertype type = eth.type();
  if (type == ethertype::ipv4) [[likely]]
    return input_ip(std::move(p), broadcast, now);
  p->strip(ethernet_header_size);
  if (type == ethertype::arp)
    return input_arp(std::move(p), now);
  stats.drop(drop_reason::ethertype_unknown);
}

// Makes the headers lie together when the device has spread them over fragments.
bool stack::impl::gather_headers(packet& p) noexcept {
  if (p.front().size() >= std::min(p.size(), views_max))
    return true;
  // At least the whole first fragment, so that the new one can take its place.
  const uint32_t n = std::min(p.size(), std::max(views_max, p.front().size()));
  fragment head = make_heap_fragment(mem, n);
  if (!head)
    return false;
  copy_out(p, 0, head.data(), n);
  stats.copied_bytes += n;
  for (uint32_t left = n; left > 0;) {
    const uint32_t take = std::min(left, p.front().size());
    if (take == p.front().size())
      p.pop_front();
    else
      p.trim_front(take);
    left -= take;
  }
  while (p.fragment_count() && p.front().empty())
    p.pop_front();
  p.push_front(std::move(head));
  return true;
}

void stack::impl::input_arp(packet_ptr p, instant now) noexcept {
  if (!arp_view::check(p->front().data(), p->front().size()))
    return stats.drop(drop_reason::arp_malformed);
  neighbours.input(arp_view(p->front().data()), now);
}

void stack::impl::input_ip(packet_ptr p, bool link_broadcast, instant now) noexcept {
  const std::byte* b = p->front().data() + ethernet_header_size;
  ipv4_view view;
  const ipv4_fault fault = view.read(b, p->front().size() - ethernet_header_size, p->size() - ethernet_header_size);
  if (fault != ipv4_fault::none) [[unlikely]]
    return stats.drop(reason_of(fault));
  const uint32_t header = view.header_length();
  if (!view.checksum_ok()) [[unlikely]]
    return stats.drop(drop_reason::ip_checksum);

  const ipv4_address source = view.source(), destination = view.destination();
  // A packet to ourselves may have addresses that nothing from outside may.
  const bool looped = p->offload.looped;
  const auto kind = looped ? ipv4::destination_kind::ours : ip.kind_of(destination);
  const bool broadcast = kind == ipv4::destination_kind::broadcast;
  const auto protocol = ip_protocol(view.protocol());
  if (kind != ipv4::destination_kind::ours) [[unlikely]] {
    // Before we have an address, a DHCP server may use the one it is about to give.
    const bool dhcp_may = protocol == ip_protocol::udp && dhcp.phase() != dhcp_client::state::off;
    if (!broadcast && !(dhcp_may && !ip.address() && !destination.multicast()))
      return stats.drop(drop_reason::ip_not_ours);
  } else if (link_broadcast) {
    return stats.drop(drop_reason::ip_not_ours);  // RFC 1122 3.3.6
  }
  if (view.is_fragment()) [[unlikely]]
    return stats.drop(drop_reason::ip_fragment);  // no reassembly yet
  if (ip.bad_source(source) && !looped) [[unlikely]]
    return stats.drop(drop_reason::ip_source);

  const uint32_t total = ethernet_header_size + view.total_length();
  if (p->size() != total)
    p->truncate(total);                     // padding of short frames
  p->strip(ethernet_header_size + header);  // stays in the first fragment: an error quotes it

  switch (protocol) {
    case ip_protocol::tcp:
      if (kind != ipv4::destination_kind::ours)
        return stats.drop(drop_reason::ip_not_ours);  // RFC 1122 4.2.3.10
      return tcp.input({source, destination, p->offload.checksum}, std::move(p), now);
    case ip_protocol::udp:
      return input_udp(std::move(p), header, source, destination, kind, now);
    case ip_protocol::icmp:
      return input_icmp(std::move(p), source, destination, broadcast || link_broadcast, now);
  }
  stats.drop(drop_reason::protocol_unknown);
  if (kind != ipv4::destination_kind::ours)
    return;
  p->prepend(header);
  control.send_unreachable(icmp_unreachable::protocol, *p, now);
}

void stack::impl::input_udp(packet_ptr p, uint32_t ip_header, ipv4_address source, ipv4_address destination,
                            ipv4::destination_kind kind, instant now) noexcept {
  udp_view view;
  if (view.read(p->front().data(), p->front().size(), p->size()) && view.destination_port() == dhcp_client_port &&
      dhcp.phase() != dhcp_client::state::off && !p->offload.looped) {
    const uint64_t pseudo = pseudo_header_sum(source, destination, uint8_t(ip_protocol::udp), view.length());
    if (view.has_checksum() && p->offload.checksum == checksum_state::none &&
        !checksum_good(checksum_packet(*p, 0, view.length(), pseudo)))
      return stats.drop(drop_reason::udp_checksum);
    p->truncate(view.length());
    return input_dhcp(std::move(p), now);
  }
  if (kind == ipv4::destination_kind::not_ours)
    return stats.drop(drop_reason::ip_not_ours);
  packet_ptr unwanted = udp.input(source, destination, std::move(p));
  if (!unwanted || kind != ipv4::destination_kind::ours)
    return;
  unwanted->prepend(ip_header);
  control.send_unreachable(icmp_unreachable::port, *unwanted, now);
}

void stack::impl::input_dhcp(packet_ptr p, instant now) noexcept {
  std::byte flat[1500];
  const uint32_t n = std::min<uint32_t>(p->size() - udp_header_size, sizeof flat);
  copy_out(*p, udp_header_size, flat, n);
  auto reply = dhcp_reply::parse(flat, n);
  if (!reply)
    return stats.drop(drop_reason::udp_malformed);
  after_dhcp(dhcp.input(*reply, now), now);
}

void stack::impl::input_icmp(packet_ptr p, ipv4_address source, ipv4_address destination, bool broadcast,
                             instant now) noexcept {
  if (auto report = control.input(source, destination, broadcast, std::move(p), now))
    deliver(*report, now);
}

void stack::impl::deliver(const icmp_report& report, instant now) noexcept {
  if (report.protocol == ip_protocol::udp)
    return udp.icmp_error(report);
  tcp.icmp_error(report.flow, report.seq, report.error, report.hard, report.mtu, now);
}

}  // namespace solaster::net

// ICMP: answers echo requests, sends errors, reads errors about our own packets.
//
// Spec: RFC 792; RFC 1122 3.2.2 (when not to answer); RFC 1812 4.3.2 (rate, quotation); RFC 1191; RFC 5927 (an error is
// a hint). Limits: stack_config::icmp_errors_per_second. Context: shard-local.
#pragma once

#include <cstdint>
#include <optional>

#include "net/ip/ipv4.hh"
#include "net/wire/icmp.hh"

namespace solaster::net {

// What an ICMP error says about a packet that we sent.
struct icmp_report {
  ip_protocol protocol = ip_protocol::tcp;
  four_tuple flow;   // local: ours
  uint32_t seq = 0;  // TCP
  errc error = errc::hostunreach;
  bool hard = false;         // RFC 1122 4.2.3.9
  uint32_t mtu = 0;          // fragmentation needed: of the next hop, else 0
  uint32_t packet_size = 0;  // of the packet, as far as its header is believed
};

class icmp {
 public:
  icmp(const stack_config& config, link& l, ipv4& ip, stack_stats& stats) noexcept
      : _config(config), _link(l), _ip(ip), _stats(stats), _tokens(config.icmp_errors_burst) {}

  // A message to us, IP header removed. An error about a flow comes back as a report.
  std::optional<icmp_report> input(ipv4_address source, ipv4_address destination, bool broadcast, packet_ptr p,
                                   instant now) noexcept;

  // Tells the sender of `p` (IP header in front, at its full size) that nobody is there. Only for unicast packets.
  void send_unreachable(icmp_unreachable code, const packet& p, instant now) noexcept;

 private:
  std::optional<icmp_report> read_error(const icmp_view& header, const std::byte* quoted, uint32_t n,
                                        bool looped) const noexcept;
  bool take_token(instant now) noexcept;

  const stack_config& _config;
  link& _link;
  ipv4& _ip;
  stack_stats& _stats;
  uint32_t _tokens;
  instant _refilled;
};

// Reads the flow of a packet of ours from its IP header on: for errors, whether they came by ICMP or from the neighbour
// cache.
std::optional<icmp_report> read_own_flow(const std::byte* ip, uint32_t n) noexcept;

}  // namespace solaster::net

// Counters of one stack: what went by, and why packets were dropped.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace solaster::net {

enum class drop_reason : uint8_t {
  ethernet_short,
  ethernet_not_ours,
  ethertype_unknown,
  arp_malformed,
  ip_short,
  ip_version,
  ip_header_length,
  ip_length,
  ip_checksum,
  ip_not_ours,
  ip_fragment,
  ip_source,
  protocol_unknown,
  icmp_malformed,
  icmp_checksum,
  udp_malformed,
  udp_checksum,
  udp_no_socket,
  udp_buffer_full,
  tcp_malformed,
  tcp_checksum,
  tcp_no_connection,
  tcp_out_of_window,
  tcp_backlog,
  tcp_memory,
  neighbour_unresolved,
  neighbour_queue,
  transmit_queue,
  no_memory,
  no_route,
  rate_limit,
  count
};

const char* name_of(drop_reason reason) noexcept;

struct stack_stats {
  uint64_t received = 0, sent = 0, copied_bytes = 0;
  std::array<uint64_t, size_t(drop_reason::count)> drops{};
  uint64_t tcp_retransmits = 0, tcp_resets_sent = 0, tcp_connections_accepted = 0, tcp_connections_opened = 0;

  void drop(drop_reason reason) noexcept { ++drops[size_t(reason)]; }
};

}  // namespace solaster::net

// Limits of the TCP layer that nobody configures. What one may want to set stands in net/host/config.hh.
#pragma once

#include <cstdint>

#include "net/base/time.hh"

namespace solaster::net::tcp {

inline constexpr uint32_t ip_header_length = 20;
// Stateless answers (RST, SYN-ACK, TIME-WAIT's ACK) that wait for transmit(); more are dropped, as the network might.
inline constexpr uint32_t replies_max = 1024;
// RFC 5961 10: challenge ACKs of one connection in a challenge_interval. A count that connections share would tell one
// of them how many another was made to send (CVE-2016-5696).
inline constexpr uint32_t challenges_max = 10;
inline constexpr duration challenge_interval = seconds(1);
// Payload up to this many bytes is copied into the header's buffer: one descriptor instead of two.
inline constexpr uint32_t send_copy_max = 512;
// Segments sent for one connection before the others have their turn.
inline constexpr uint32_t output_burst_max = 64;
// Duplicate ACKs sent for one burst of segments out of order.
inline constexpr uint32_t duplicate_acks_max = 64;
// A connection without a host gives up earlier.
inline constexpr uint32_t orphan_retries_max = 8;
// The smallest path MTU believed (RFC 791; an ICMP error may lie).
inline constexpr uint32_t path_mtu_min = 552;
// The smallest MSS of a peer believed: a smaller one would make us send headers only.
inline constexpr uint32_t mss_min = 64;
inline constexpr uint32_t window_unscaled_max = 65535;
// What a device is handed to cut: an IP packet's length at most, all headers in it.
inline constexpr uint32_t gso_size_max = 65535;
inline constexpr uint32_t headers_max = 80;
// What a fragment costs beside its bytes: its slot and its buffer's control block.
inline constexpr uint32_t send_fragment_overhead = 80;
// Freed objects kept for reuse: as many as live, and these.
inline constexpr uint32_t slab_keep = 64;
// RFC 6298 5.7: the RTO when data begins to flow after a SYN was sent more than once.
inline constexpr duration rto_after_lost_syn = seconds(3);

}  // namespace solaster::net::tcp

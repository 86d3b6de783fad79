// ICMP: the header all messages share, and the errors' quotation.
// Spec: RFC 792; code 4's next-hop MTU: RFC 1191 4; codes 9, 10, 13: RFC 1812 5.2.7.1.
#pragma once

#include <cstdint>

#include "net/base/endian.hh"

namespace solaster::net {

enum class icmp_type : uint8_t {
  echo_reply = 0,
  unreachable = 3,
  source_quench = 4,
  redirect = 5,
  echo_request = 8,
  time_exceeded = 11,
  parameter_problem = 12,
};

// Of icmp_type::unreachable.
enum class icmp_unreachable : uint8_t {
  network = 0,
  host = 1,
  protocol = 2,
  port = 3,
  fragmentation_needed = 4,
  source_route_failed = 5,
  network_prohibited = 9,
  host_prohibited = 10,
  prohibited = 13,
};

inline constexpr uint32_t icmp_header_size = 8;

constexpr bool icmp_is_error(icmp_type t) noexcept {
  return t == icmp_type::unreachable || t == icmp_type::source_quench || t == icmp_type::redirect ||
         t == icmp_type::time_exceeded || t == icmp_type::parameter_problem;
}

class icmp_view {
 public:
  static bool check(uint32_t available) noexcept { return available >= icmp_header_size; }
  explicit icmp_view(const std::byte* checked) noexcept : _p(checked) {}
  icmp_type type() const noexcept { return icmp_type(load8(_p)); }
  uint8_t code() const noexcept { return load8(_p + 1); }
  uint16_t next_hop_mtu() const noexcept { return load_be16(_p + 6); }  // fragmentation_needed
  uint16_t id() const noexcept { return load_be16(_p + 4); }            // echo
  uint16_t sequence() const noexcept { return load_be16(_p + 6); }      // echo

 private:
  const std::byte* _p;
};

// The checksum field is left zero: it covers what follows too.
struct icmp_header {
  icmp_type type = icmp_type::echo_reply;
  uint8_t code = 0;
  uint32_t rest = 0;  // id and sequence, or MTU, or unused

  static constexpr uint32_t size = icmp_header_size;
  static constexpr uint32_t checksum_offset = 2;
  void emit(std::byte* p) const noexcept {
    store8(p, uint8_t(type));
    store8(p + 1, code);
    store_be16(p + 2, 0);
    store_be32(p + 4, rest);
  }
};

}  // namespace solaster::net

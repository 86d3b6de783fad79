// Frames built byte by byte for tests, independently of net/wire, and read back as one line of text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/wire/address.hh"

namespace solaster::net::testing {

using bytes = std::vector<uint8_t>;

inline constexpr mac_address mac_of(uint8_t last) {
  return {{0x52, 0x54, 0, 0, 0, last}};
}
inline constexpr ipv4_address ip_of(uint8_t last) {
  return ipv4_address::of(10, 0, 0, last);
}

bytes operator+(bytes a, const bytes& b);
bytes text(const std::string& s);
bytes be16(uint16_t v);
bytes be32(uint32_t v);
uint16_t sum_of(const bytes& b, uint32_t initial = 0);  // complemented, RFC 1071 as it reads

bytes ethernet(mac_address to, mac_address from, uint16_t type, const bytes& payload);
bytes arp(uint16_t op, mac_address sender_mac, ipv4_address sender, mac_address target_mac, ipv4_address target);
struct ip_fields {
  uint16_t id = 0, fragment = 0x4000;
  uint8_t ttl = 64;
  bytes options{};
};
bytes ip(ipv4_address from, ipv4_address to, uint8_t protocol, const bytes& payload, const ip_fields& more = {});
bytes echo(uint8_t type, uint16_t id, uint16_t sequence, const bytes& payload);
bytes icmp(uint8_t type, uint8_t code, uint32_t rest, const bytes& payload);
bytes udp(ipv4_address from, uint16_t from_port, ipv4_address to, uint16_t to_port, const bytes& payload);
bytes tcp_segment(ipv4_address from, uint16_t from_port, ipv4_address to, uint16_t to_port, uint32_t seq, uint32_t ack,
                  uint8_t flags, const bytes& payload = {}, uint16_t window = 65535);
// Fixed part of a DHCP reply and its options.
bytes dhcp_reply_bytes(uint32_t xid, mac_address client, ipv4_address yours, const bytes& options);

// "arp request 10.0.0.1 asks 10.0.0.2 to ff:ff:ff:ff:ff:ff", "icmp 0/0 10.0.0.1 > 10.0.0.2 len 8 to ..."; checks
// checksums.
std::string describe(const bytes& frame);

}  // namespace solaster::net::testing

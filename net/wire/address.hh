// Addresses as values. Numbers are in host byte order; wire order exists only in bytes.
#pragma once

#include <array>
#include <compare>
#include <cstdint>

namespace solaster::net {

struct mac_address {
  std::array<uint8_t, 6> bytes{};
  constexpr auto operator<=>(const mac_address&) const = default;
  constexpr bool multicast() const { return bytes[0] & 1; }
  static constexpr mac_address broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
};

struct ipv4_address {
  uint32_t value = 0;  // 127.0.0.1 is 0x7f000001
  constexpr auto operator<=>(const ipv4_address&) const = default;
  constexpr bool any() const { return value == 0; }
  constexpr bool loopback() const { return value >> 24 == 127; }
  constexpr bool multicast() const { return value >> 28 == 0xe; }
  static constexpr ipv4_address of(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    return {uint32_t(a) << 24 | uint32_t(b) << 16 | uint32_t(c) << 8 | d};
  }
  static constexpr ipv4_address broadcast() { return {0xffffffff}; }
};

// The name that code above IP uses; widens when IPv6 comes.
using ip_address = ipv4_address;

struct endpoint {
  ip_address address;
  uint16_t port = 0;
  constexpr auto operator<=>(const endpoint&) const = default;
};

struct four_tuple {
  endpoint local;
  endpoint remote;
  constexpr auto operator<=>(const four_tuple&) const = default;
};

}  // namespace solaster::net

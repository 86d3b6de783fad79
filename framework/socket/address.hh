// Addresses of sockets, as values.
//
// Units: addresses and ports in host byte order.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace solaster {

struct ipv4_addr {
  uint32_t ip = 0;    // 0 is "any"
  uint16_t port = 0;  // 0 is "choose one"

  constexpr ipv4_addr() noexcept = default;
  constexpr explicit ipv4_addr(uint16_t p) noexcept : port(p) {}
  constexpr ipv4_addr(uint32_t addr, uint16_t p) noexcept : ip(addr), port(p) {}
  constexpr auto operator<=>(const ipv4_addr&) const noexcept = default;

  bool is_any() const noexcept { return ip == 0; }
  // "a.b.c.d" or "a.b.c.d:port"; nullopt for anything else (no names: there is no resolver yet).
  static std::optional<ipv4_addr> parse(std::string_view text, uint16_t default_port = 0) noexcept;
};

// Room for further families; IPv4 is the one there is.
class socket_address {
 public:
  constexpr socket_address() noexcept = default;
  constexpr socket_address(ipv4_addr a) noexcept : _v4(a) {}
  constexpr socket_address(uint32_t ip, uint16_t port) noexcept : _v4(ip, port) {}

  constexpr const ipv4_addr& v4() const noexcept { return _v4; }
  constexpr uint16_t port() const noexcept { return _v4.port; }
  constexpr bool is_unspecified() const noexcept { return _v4 == ipv4_addr(); }
  constexpr auto operator<=>(const socket_address&) const noexcept = default;

 private:
  ipv4_addr _v4;
};

std::string to_string(const ipv4_addr&);
std::string to_string(const socket_address&);

inline socket_address make_ipv4_address(ipv4_addr a) noexcept {
  return a;
}

}  // namespace solaster

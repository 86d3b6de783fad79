#include "framework/socket/address.hh"

#include <charconv>
#include <cstdio>

namespace solaster {

namespace {

template <typename T>
bool take_number(std::string_view& s, T& out, uint32_t max) noexcept {
  uint32_t v = 0;
  auto r = std::from_chars(s.data(), s.data() + s.size(), v);
  if (r.ec != std::errc() || v > max) {
    return false;
  }
  out = T(v);
  s.remove_prefix(size_t(r.ptr - s.data()));
  return true;
}

}  // namespace

std::optional<ipv4_addr> ipv4_addr::parse(std::string_view s, uint16_t default_port) noexcept {
  ipv4_addr a(0, default_port);
  for (int i = 0; i < 4; ++i) {
    uint8_t byte;
    if (i != 0) {
      if (s.empty() || s.front() != '.') {
        return std::nullopt;
      }
      s.remove_prefix(1);
    }
    if (!take_number(s, byte, 255)) {
      return std::nullopt;
    }
    a.ip = a.ip << 8 | byte;
  }
  if (!s.empty()) {
    if (s.front() != ':') {
      return std::nullopt;
    }
    s.remove_prefix(1);
    if (!take_number(s, a.port, 65535) || !s.empty()) {
      return std::nullopt;
    }
  }
  return a;
}

std::string to_string(const ipv4_addr& a) {
  char text[32];
  int n = std::snprintf(text, sizeof text, "%u.%u.%u.%u:%u", a.ip >> 24, a.ip >> 16 & 255, a.ip >> 8 & 255, a.ip & 255,
                        unsigned(a.port));
  return std::string(text, size_t(n));
}

std::string to_string(const socket_address& a) {
  return to_string(a.v4());
}

}  // namespace solaster

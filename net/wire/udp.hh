// UDP header: view and value.
// Spec: RFC 768; RFC 1122 4.1.3.4 (a checksum of zero means none).
#pragma once

#include <cstdint>

#include "net/base/endian.hh"

namespace solaster::net {

inline constexpr uint32_t udp_header_size = 8;
inline constexpr uint32_t udp_checksum_offset = 6;

class udp_view {
 public:
  // `size`: of the datagram as IP delivered it. The length field may be smaller (padding), never larger.
  static bool check(const std::byte* p, uint32_t available, uint32_t size) noexcept {
    return available >= udp_header_size && load_be16(p + 4) >= udp_header_size && load_be16(p + 4) <= size;
  }
  explicit udp_view(const std::byte* checked) noexcept : _p(checked) {}
  uint16_t source_port() const noexcept { return load_be16(_p); }
  uint16_t destination_port() const noexcept { return load_be16(_p + 2); }
  uint16_t length() const noexcept { return load_be16(_p + 4); }
  bool has_checksum() const noexcept { return load_be16(_p + 6) != 0; }

 private:
  const std::byte* _p;
};

// The checksum field is left zero.
struct udp_header {
  uint16_t source_port = 0, destination_port = 0;
  uint16_t length = udp_header_size;

  static constexpr uint32_t size = udp_header_size;
  void emit(std::byte* p) const noexcept {
    store_be16(p, source_port);
    store_be16(p + 2, destination_port);
    store_be16(p + 4, length);
    store_be16(p + 6, 0);
  }
};

}  // namespace solaster::net

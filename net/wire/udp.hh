// UDP header: view and value.
// Spec: RFC 768; RFC 1122 4.1.3.4 (a checksum of zero means none).
#pragma once

#include <cstdint>

#include "net/base/endian.hh"

namespace solaster::net {

inline constexpr uint32_t udp_header_size = 8;
inline constexpr uint32_t udp_checksum_offset = 6;

// Over a header that read() has accepted; the length is read once (see ipv4_view).
class udp_view {
 public:
  // `size`: of the datagram as IP delivered it. The length field may be smaller (padding), never larger.
  bool read(const std::byte* p, uint32_t available, uint32_t size) noexcept {
    if (available < udp_header_size)
      return false;
    _p = p;
    _length = load_be16(p + 4);
    return _length >= udp_header_size && _length <= size;
  }
  uint16_t source_port() const noexcept { return load_be16(_p); }
  uint16_t destination_port() const noexcept { return load_be16(_p + 2); }
  uint16_t length() const noexcept { return uint16_t(_length); }
  bool has_checksum() const noexcept { return load_be16(_p + 6) != 0; }

 private:
  const std::byte* _p = nullptr;
  uint32_t _length = 0;
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

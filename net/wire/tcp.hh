// TCP header and options: view and value.
//
// Spec: RFC 9293 3.1, 3.2; window scale and timestamps: RFC 7323; SACK: RFC 2018; ECN flags: RFC 3168.
// Errors: a view's read() says no, or its accessors cannot fail; a bad option ends the walk, what was read stays.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "net/base/endian.hh"

namespace solaster::net {

inline constexpr uint32_t tcp_header_min = 20;
inline constexpr uint32_t tcp_header_max = 60;
inline constexpr uint32_t tcp_options_max = tcp_header_max - tcp_header_min;
inline constexpr uint32_t tcp_checksum_offset = 16;
inline constexpr uint16_t tcp_mss_default = 536;     // RFC 9293 3.7.1, IPv4
inline constexpr uint8_t tcp_window_scale_max = 14;  // RFC 7323 2.3

enum tcp_flag : uint8_t {
  tcp_fin = 0x01,
  tcp_syn = 0x02,
  tcp_rst = 0x04,
  tcp_psh = 0x08,
  tcp_ack = 0x10,
  tcp_urg = 0x20,
  tcp_ece = 0x40,
  tcp_cwr = 0x80,
};

enum class tcp_option : uint8_t {
  end = 0,
  nop = 1,
  mss = 2,
  window_scale = 3,
  sack_permitted = 4,
  sack = 5,
  timestamps = 8
};

struct tcp_sack_block {
  uint32_t begin = 0, end = 0;  // [begin, end) of the sequence space
  constexpr bool operator==(const tcp_sack_block&) const = default;
};

// What we know of the options; the same for reading and for writing.
struct tcp_options {
  uint16_t mss = 0;          // 0: absent
  int8_t window_scale = -1;  // -1: absent; as on the wire, may exceed 14 when read
  bool sack_permitted = false;
  bool timestamps = false;
  uint32_t ts_value = 0, ts_echo = 0;
  uint8_t sack_count = 0;
  std::array<tcp_sack_block, 4> sack{};

  constexpr bool operator==(const tcp_options&) const = default;
  static tcp_options parse(const std::byte* p, uint32_t n) noexcept;
  // A multiple of 4, at most 40.
  uint32_t size() const noexcept;
  void emit(std::byte* p) const noexcept;  // size() bytes
};

// Over a header that read() has accepted: header_length() bytes lie together. The length is read once (see ipv4_view).
class tcp_view {
 public:
  tcp_view() noexcept = default;
  // Over a header of our own.
  explicit tcp_view(const std::byte* p) noexcept : _p(p), _header_length((load8(p + 12) >> 4) * 4u) {}
  // `available`: bytes that lie together from the header's first.
  bool read(const std::byte* p, uint32_t available) noexcept {
    if (available < tcp_header_min)
      return false;
    *this = tcp_view(p);
    return _header_length >= tcp_header_min && _header_length <= available;
  }

  uint16_t source_port() const noexcept { return load_be16(_p); }
  uint16_t destination_port() const noexcept { return load_be16(_p + 2); }
  uint32_t seq() const noexcept { return load_be32(_p + 4); }
  uint32_t ack() const noexcept { return load_be32(_p + 8); }
  uint32_t header_length() const noexcept { return _header_length; }
  uint8_t flags() const noexcept { return load8(_p + 13); }
  uint16_t window() const noexcept { return load_be16(_p + 14); }
  uint16_t urgent() const noexcept { return load_be16(_p + 18); }
  std::span<const std::byte> option_bytes() const noexcept {
    return {_p + tcp_header_min, _header_length - tcp_header_min};
  }
  tcp_options options() const noexcept {
    return tcp_options::parse(_p + tcp_header_min, _header_length - tcp_header_min);
  }

 private:
  const std::byte* _p = nullptr;
  uint32_t _header_length = 0;
};

struct tcp_header {
  uint16_t source_port = 0, destination_port = 0;
  uint32_t seq = 0, ack = 0;
  uint8_t flags = 0;
  uint16_t window = 0;
  uint16_t urgent = 0;
  uint32_t options_length = 0;  // a multiple of 4; the caller emits them behind

  uint32_t size() const noexcept { return tcp_header_min + options_length; }
  // The 20 fixed bytes, checksum zero.
  void emit(std::byte* p) const noexcept {
    store_be16(p, source_port);
    store_be16(p + 2, destination_port);
    store_be32(p + 4, seq);
    store_be32(p + 8, ack);
    store8(p + 12, uint8_t(size() / 4 << 4));
    store8(p + 13, flags);
    store_be16(p + 14, window);
    store_be16(p + 16, 0);
    store_be16(p + 18, urgent);
  }
};

}  // namespace solaster::net

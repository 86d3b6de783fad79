// IPv4 header: view and value.
// Spec: RFC 791 3.1; DSCP and ECN: RFC 2474, RFC 3168; identifiers of atomic datagrams: RFC 6864.
#pragma once

#include <cstdint>
#include <span>

#include "net/base/endian.hh"
#include "net/wire/address.hh"
#include "net/wire/checksum.hh"

namespace solaster::net {

enum class ip_protocol : uint8_t { icmp = 1, tcp = 6, udp = 17 };

inline constexpr uint32_t ipv4_header_min = 20;
inline constexpr uint32_t ipv4_header_max = 60;
inline constexpr uint32_t ipv4_mtu_min = 68;  // RFC 791 3.2: what every link carries

enum class ipv4_fault : uint8_t { none, too_short, version, header_length, total_length };

// The checksum of a whole header. Inlined by force: on the way in this is a handful of additions.
[[gnu::always_inline]] inline bool ipv4_checksum_ok(const std::byte* p, uint32_t length) noexcept {
  if (length != ipv4_header_min) [[unlikely]]
    return checksum_good(checksum_bytes(p, length));
  // Of 20 bytes, the usual length, without a loop.
  const uint64_t sum = checksum_add(load_raw<uint64_t>(p), load_raw<uint64_t>(p + 8));
  return checksum_good(checksum_add(sum, load_raw<uint32_t>(p + 16)));
}

// Over a header that read() has accepted: header_length() bytes are there, total_length() >= header_length(). The two
// lengths are read once: a device may write to its buffer at any time, and what was checked has to be what is used.
class ipv4_view {
 public:
  // `available`: bytes of the header part that lie together; `packet_size`: of the whole IP packet, all fragments.
  ipv4_fault read(const std::byte* p, uint32_t available, uint32_t packet_size) noexcept {
    if (available < ipv4_header_min)
      return ipv4_fault::too_short;
    const uint8_t first = load8(p);
    if (first >> 4 != 4)
      return ipv4_fault::version;
    _header_length = (first & 15u) * 4;
    if (_header_length < ipv4_header_min || _header_length > available)
      return ipv4_fault::header_length;
    _total_length = load_be16(p + 2);
    if (_total_length < _header_length || _total_length > packet_size)
      return ipv4_fault::total_length;
    _p = p;
    return ipv4_fault::none;
  }

  uint32_t header_length() const noexcept { return _header_length; }
  uint8_t tos() const noexcept { return load8(_p + 1); }
  uint16_t total_length() const noexcept { return uint16_t(_total_length); }
  uint16_t id() const noexcept { return load_be16(_p + 4); }
  bool dont_fragment() const noexcept { return load_be16(_p + 6) & 0x4000; }
  bool more_fragments() const noexcept { return load_be16(_p + 6) & 0x2000; }
  uint32_t fragment_offset() const noexcept { return (load_be16(_p + 6) & 0x1fffu) * 8; }
  bool is_fragment() const noexcept { return load_be16(_p + 6) & 0x3fff; }
  uint8_t ttl() const noexcept { return load8(_p + 8); }
  uint8_t protocol() const noexcept { return load8(_p + 9); }
  ipv4_address source() const noexcept { return {load_be32(_p + 12)}; }
  ipv4_address destination() const noexcept { return {load_be32(_p + 16)}; }
  bool checksum_ok() const noexcept { return ipv4_checksum_ok(_p, _header_length); }
  const std::byte* payload() const noexcept { return _p + _header_length; }

 private:
  const std::byte* _p = nullptr;
  uint32_t _header_length = 0, _total_length = 0;
};

// Without options: we send none.
struct ipv4_header {
  uint8_t tos = 0;
  uint16_t total_length = ipv4_header_min;
  uint16_t id = 0;
  bool dont_fragment = true;
  uint8_t ttl = 64;
  uint8_t protocol = 0;
  ipv4_address source, destination;

  static constexpr uint32_t size = ipv4_header_min;
  void emit(std::byte* p) const noexcept {
    store8(p, 0x45);
    store8(p + 1, tos);
    store_be16(p + 2, total_length);
    store_be16(p + 4, id);
    store_be16(p + 6, dont_fragment ? 0x4000 : 0);
    store8(p + 8, ttl);
    store8(p + 9, protocol);
    store_be16(p + 10, 0);
    store_be32(p + 12, source.value);
    store_be32(p + 16, destination.value);
    store_raw<uint16_t>(p + 10, uint16_t(~checksum_fold(checksum_bytes(p, size))));
  }
};

}  // namespace solaster::net

// The Internet checksum: one's complement sums over bytes and over packet chains.
//
// A running sum is a `checksum_sum`: 16-bit words summed in the machine's byte order (the sum does not care, RFC 1071
// 2(B)), so the folded value is stored as it is, without a swap.
//
// Spec: RFC 1071; RFC 1624 for the incremental update. Context: any; allocates nothing.
#pragma once

#include <cstdint>
#include <span>

#include "net/base/endian.hh"
#include "net/wire/address.hh"

namespace solaster::net {

class packet;

// Of bytes that start at an even offset of the message. Chunks of odd length: see checksum_accumulator.
uint64_t checksum_bytes(const std::byte* p, size_t n, uint64_t sum = 0) noexcept;

// Adds with end-around carry.
constexpr uint64_t checksum_add(uint64_t sum, uint64_t v) noexcept {
  sum += v;
  return sum + (sum < v);
}

// 64 bits to 16, in the machine's order.
constexpr uint16_t checksum_fold(uint64_t sum) noexcept {
  sum = (sum & 0xffffffff) + (sum >> 32);                     // at most 0x1'ffff'fffe
  sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);  // at most 0x1'fffe
  return uint16_t(sum + (sum >> 16));
}

// The pseudo header of RFC 9293 3.1 and RFC 768.
constexpr uint64_t pseudo_header_sum(ipv4_address source, ipv4_address destination, uint8_t protocol,
                                     uint32_t length) noexcept {
  return uint64_t(__builtin_bswap32(source.value)) + __builtin_bswap32(destination.value) +
         __builtin_bswap16(uint16_t(protocol)) + __builtin_bswap32(length);
}

// Sums chunks of any length in a row.
class checksum_accumulator {
 public:
  explicit checksum_accumulator(uint64_t sum = 0) noexcept : _sum(sum) {}
  void add(const std::byte* p, size_t n) noexcept {
    uint64_t part = checksum_bytes(p, n);
    if (_odd)
      part = __builtin_bswap16(checksum_fold(part));
    _sum = checksum_add(_sum, part);
    _odd ^= n & 1;
  }
  uint64_t sum() const noexcept { return _sum; }
  // The value for the checksum field, in the machine's order (store_raw).
  uint16_t complement() const noexcept { return uint16_t(~checksum_fold(_sum)); }

 private:
  uint64_t _sum;
  bool _odd = false;
};

// Of bytes [offset, offset + length) of a packet, on top of `sum`.
uint64_t checksum_packet(const packet& p, uint32_t offset, uint32_t length, uint64_t sum = 0) noexcept;

// A message with its checksum field in place sums to 0xffff (or is all zeros, which no header is).
constexpr bool checksum_good(uint64_t sum) noexcept {
  return checksum_fold(sum) == 0xffff;
}

}  // namespace solaster::net

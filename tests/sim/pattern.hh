// The bytes of a stream as a function of their offset, so that a reader knows what must come without asking the writer.
//
// The 64-bit word k of a stream is key + k * step, little-endian: cheap to write and to check in bulk, and a byte that
// moved, was lost or was doubled does not fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace solaster::sim {

class pattern {
 public:
  explicit pattern(uint64_t key) noexcept : _key(key * 0x9e3779b97f4a7c15 + 0x1234567) {}

  void fill(std::byte* p, size_t n, uint64_t offset) const noexcept {
    while (n && offset % 8) {
      *p++ = byte_at(offset++);
      --n;
    }
    uint64_t w = word(offset / 8);
    const size_t words = n / 8;
    for (size_t i = 0; i < words; ++i, w += step) {
      std::memcpy(p + i * 8, &w, 8);
    }
    for (size_t i = words * 8; i < n; ++i) {
      p[i] = byte_at(offset + i);
    }
  }
  bool check(const std::byte* p, size_t n, uint64_t offset) const noexcept {
    uint64_t wrong = 0;
    while (n && offset % 8) {
      wrong |= uint64_t(*p++ ^ byte_at(offset++));
      --n;
    }
    uint64_t w = word(offset / 8);
    const size_t words = n / 8;
    for (size_t i = 0; i < words; ++i, w += step) {
      uint64_t v;
      std::memcpy(&v, p + i * 8, 8);
      wrong |= v ^ w;
    }
    for (size_t i = words * 8; i < n; ++i) {
      wrong |= uint64_t(p[i] ^ byte_at(offset + i));
    }
    return wrong == 0;
  }

 private:
  static constexpr uint64_t step = 0xd1342543de82ef95;
  uint64_t word(uint64_t k) const noexcept { return _key + k * step; }
  std::byte byte_at(uint64_t offset) const noexcept { return std::byte(word(offset / 8) >> offset % 8 * 8); }
  uint64_t _key;
};

}  // namespace solaster::sim

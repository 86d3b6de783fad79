// What is done with the few bytes of a key or a command line. They are short: a call of memcmp or memchr costs more
// than the work.
#pragma once

#include <emmintrin.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace solaster::memcached {

namespace detail {
inline uint64_t load8(const char* p) noexcept {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}
inline uint64_t load4(const char* p) noexcept {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}
}  // namespace detail

inline bool same_bytes(const char* a, const char* b, size_t n) noexcept {
  using namespace detail;
  if (n < 8) {
    for (size_t i = 0; i < n; ++i) {
      if (a[i] != b[i])
        return false;
    }
    return true;
  }
  for (size_t i = 0; i + 8 < n; i += 8) {
    if (load8(a + i) != load8(b + i))
      return false;
  }
  return load8(a + n - 8) == load8(b + n - 8);
}

inline bool has_blank(std::string_view text) noexcept {
  using namespace detail;
  const char* p = text.data();
  size_t n = text.size();
  if (n < 8) {
    for (char c : text) {
      if (c == ' ')
        return true;
    }
    return false;
  }
  auto blank_in = [](uint64_t x) {
    constexpr uint64_t ones = 0x0101010101010101;
    x ^= ones * ' ';
    return (x - ones) & ~x & (ones << 7);  // a byte is zero
  };
  uint64_t found = blank_in(load8(p + n - 8));
  for (size_t i = 0; i + 8 < n; i += 8)
    found |= blank_in(load8(p + i));
  return found != 0;
}

// The first newline of `text`, or null. Commands end within 32 bytes as a rule.
inline const char* find_newline(std::string_view text) noexcept {
  const __m128i newline = _mm_set1_epi8('\n');
  size_t at = 0;
  for (; at < 32 && at + 16 <= text.size(); at += 16) {
    // SAFETY: 16 bytes from `at` on lie within the text; the load needs no alignment.
    __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
    if (unsigned found = unsigned(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, newline))))
      return text.data() + at + std::countr_zero(found);
  }
  return static_cast<const char*>(std::memchr(text.data() + at, '\n', text.size() - at));
}

}  // namespace solaster::memcached

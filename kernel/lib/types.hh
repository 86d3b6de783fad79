// Plain integer names and the few helpers that every kernel file needs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace solaster::kernel {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
using usize = std::size_t;
using uptr = std::uintptr_t;

inline constexpr u64 page_size = 4096;
inline constexpr u64 huge_page_size = 2u << 20;

constexpr u64 align_up(u64 x, u64 a) {
  return (x + a - 1) & ~(a - 1);
}
constexpr u64 align_down(u64 x, u64 a) {
  return x & ~(a - 1);
}

// A deadline that never comes (monotonic nanoseconds).
inline constexpr u64 never = ~u64{0};

}  // namespace solaster::kernel

// The hash of a key: spreads keys over shards (high bits) and over buckets (low bits).
//
// Seeded from the host's entropy, so that nobody outside can aim keys at one bucket or one shard. Multiply-and-fold of
// 64 x 64 -> 128 bits; 16 bytes a step. Not a cryptographic hash.
#pragma once

#include <cstdint>
#include <string_view>

#include "apps/memcached/bytes.hh"

namespace solaster::memcached {

struct hash_seed {
  uint64_t a = 0, b = 0;
};

namespace detail {
inline uint64_t fold(uint64_t x, uint64_t y) noexcept {
  auto product = static_cast<unsigned __int128>(x) * y;
  return uint64_t(product) ^ uint64_t(product >> 64);
}
}  // namespace detail

inline uint64_t hash_key(std::string_view key, hash_seed seed) noexcept {
  using namespace detail;
  constexpr uint64_t odd1 = 0x9e3779b97f4a7c15,
                     odd2 = 0xd6e8feb86659fd93;  // 2^64 / phi; an odd constant with mixed bits
  const char* p = key.data();
  size_t n = key.size();
  uint64_t h = seed.a ^ (n * odd1);
  for (; n > 16; p += 16, n -= 16)
    h = fold(load8(p) ^ h ^ odd1, load8(p + 8) ^ seed.b);
  uint64_t x = 0, y = 0;
  if (n >= 8) {
    x = load8(p);
    y = load8(p + n - 8);
  } else if (n >= 4) {
    x = load4(p);
    y = load4(p + n - 4);
  } else if (n > 0) {
    x = uint64_t(uint8_t(p[0])) << 16 | uint64_t(uint8_t(p[n / 2])) << 8 | uint8_t(p[n - 1]);
  }
  return fold(fold(x ^ h ^ odd2, y ^ seed.b ^ odd1), h ^ odd1);
}

// The shard of a hash: its high 32 bits scaled, so that buckets (low bits) stay independent of it.
inline unsigned shard_of_hash(uint64_t hash, unsigned shards) noexcept {
  return unsigned((hash >> 32) * shards >> 32);
}

}  // namespace solaster::memcached

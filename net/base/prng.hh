// xoshiro256**: fast, good, not secret. For jitter, ports, identifiers, tests; what an attacker must not guess goes
// through siphash with a secret as well.
//
// Spec: Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021; seeded by splitmix64.
#pragma once

#include <cstdint>

namespace solaster::net {

class prng {
 public:
  explicit constexpr prng(uint64_t seed) noexcept {
    for (auto& word : _s) {
      seed += 0x9e3779b97f4a7c15;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word = z ^ (z >> 31);
    }
  }

  constexpr uint64_t next() noexcept {
    const uint64_t out = rotl(_s[1] * 5, 7) * 9;
    const uint64_t t = _s[1] << 17;
    _s[2] ^= _s[0];
    _s[3] ^= _s[1];
    _s[1] ^= _s[2];
    _s[0] ^= _s[3];
    _s[2] ^= t;
    _s[3] = rotl(_s[3], 45);
    return out;
  }
  // In [0, bound); bound 0 gives 0. The bias of at most bound / 2^64 is accepted.
  constexpr uint64_t below(uint64_t bound) noexcept { return uint64_t((unsigned __int128)(next())*bound >> 64); }
  // In [low, high].
  constexpr uint64_t between(uint64_t low, uint64_t high) noexcept { return low + below(high - low + 1); }
  // True so many times in a million. (No floating point: the kernel has none.)
  constexpr bool chance_ppm(uint32_t parts_per_million) noexcept { return below(1'000'000) < parts_per_million; }

 private:
  static constexpr uint64_t rotl(uint64_t x, int k) noexcept { return x << k | x >> (64 - k); }
  uint64_t _s[4];
};

}  // namespace solaster::net

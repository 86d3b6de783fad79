// Keyed hashes of a few words, so that a stranger cannot choose collisions or predict numbers.
//
// siphash24: a pseudo-random function; for initial sequence numbers, ports, identifiers. keyed_mix: a handful of
// instructions for hash tables on the hot path; keyed, so an outsider does not see which tuples collide, but not a PRF.
// Spec: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace solaster::net {

struct hash_key {
  uint64_t k0 = 0, k1 = 0;
  // One of the keys in a 32-byte secret: `purpose` keeps their uses apart.
  static hash_key derive(const std::array<uint8_t, 32>& secret, uint64_t purpose) noexcept;
};

// The message is `words`, each as 8 little-endian bytes.
constexpr uint64_t siphash24(hash_key key, std::span<const uint64_t> words) noexcept {
  uint64_t v0 = key.k0 ^ 0x736f6d6570736575, v1 = key.k1 ^ 0x646f72616e646f6d;
  uint64_t v2 = key.k0 ^ 0x6c7967656e657261, v3 = key.k1 ^ 0x7465646279746573;
  auto rotl = [](uint64_t x, int k) { return x << k | x >> (64 - k); };
  auto round = [&] {
    v0 += v1;
    v1 = rotl(v1, 13);
    v1 ^= v0;
    v0 = rotl(v0, 32);
    v2 += v3;
    v3 = rotl(v3, 16);
    v3 ^= v2;
    v0 += v3;
    v3 = rotl(v3, 21);
    v3 ^= v0;
    v2 += v1;
    v1 = rotl(v1, 17);
    v1 ^= v2;
    v2 = rotl(v2, 32);
  };
  auto absorb = [&](uint64_t m) {
    v3 ^= m;
    round();
    round();
    v0 ^= m;
  };
  for (uint64_t m : words)
    absorb(m);
  absorb(uint64_t(words.size() * 8) << 56);
  v2 ^= 0xff;
  for (int i = 0; i < 4; ++i)
    round();
  return v0 ^ v1 ^ v2 ^ v3;
}

// Folded 64x64 multiplication of keyed words (the mixing step of wyhash).
constexpr uint64_t keyed_mix(hash_key key, uint64_t a, uint64_t b) noexcept {
  const unsigned __int128 m = (unsigned __int128)(a ^ key.k0) * (b ^ key.k1 ^ 0xa0761d6478bd642f);
  const uint64_t folded = uint64_t(m) ^ uint64_t(m >> 64);
  return folded ^ folded >> 32;
}

inline hash_key hash_key::derive(const std::array<uint8_t, 32>& secret, uint64_t purpose) noexcept {
  uint64_t w[4];
  std::memcpy(w, secret.data(), sizeof w);
  const hash_key base{w[0], w[1]};
  const uint64_t left[] = {w[2], w[3], purpose, 0}, right[] = {w[2], w[3], purpose, 1};
  return {siphash24(base, left), siphash24(base, right)};
}

}  // namespace solaster::net

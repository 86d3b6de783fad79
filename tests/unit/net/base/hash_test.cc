#include <gtest/gtest.h>

#include <set>

#include "net/base/prng.hh"
#include "net/base/siphash.hh"

namespace solaster::net {
namespace {

TEST(siphash, vectors_of_the_reference) {
  // Key 00..0f, messages 00.. of 0, 8 and 16 bytes; from the authors' vectors.h.
  const hash_key key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  const uint64_t words[] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
  EXPECT_EQ(siphash24(key, {}), 0x726fdb47dd0e0e31u);
  EXPECT_EQ(siphash24(key, std::span(words, 1)), 0x93f5f5799a932462u);
  EXPECT_EQ(siphash24(key, std::span(words, 2)), 0x3f2acc7f57c29bdbu);
}

TEST(siphash, derived_keys_differ) {
  std::array<uint8_t, 32> secret{1, 2, 3};
  const hash_key a = hash_key::derive(secret, 1), b = hash_key::derive(secret, 2);
  EXPECT_NE(a.k0, b.k0);
  EXPECT_NE(a.k0, a.k1);
  EXPECT_EQ(a.k0, hash_key::derive(secret, 1).k0);
}

TEST(prng, covers_a_small_range_and_repeats_from_its_seed) {
  prng a(5), b(5);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t v = a.between(10, 19);
    EXPECT_EQ(v, b.between(10, 19));
    seen.insert(v);
  }
  EXPECT_EQ(seen.size(), 10u);
  EXPECT_EQ(*seen.begin(), 10u);
}

}  // namespace
}  // namespace solaster::net

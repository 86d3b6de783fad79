#include "net/wire/checksum.hh"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "net/base/prng.hh"
#include "net/packet/heap_buffer.hh"
#include "net/packet/packet.hh"
#include "tests/unit/net/support/test_memory.hh"

namespace solaster::net {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<int> list) {
  std::vector<std::byte> out;
  for (int v : list)
    out.push_back(std::byte(v));
  return out;
}

// RFC 1071, as slow as it reads: big-endian words.
uint16_t naive(const std::byte* p, size_t n) {
  uint32_t sum = 0;
  for (size_t i = 0; i < n; ++i) {
    sum += i % 2 ? uint32_t(p[i]) : uint32_t(p[i]) << 8;
    while (sum > 0xffff)
      sum = (sum & 0xffff) + (sum >> 16);
  }
  return uint16_t(sum);
}

// 0 and 0xffff are the same number; which one comes out depends on the way.
uint16_t canonical(uint16_t v) {
  return v == 0xffff ? 0 : v;
}

TEST(checksum, example_of_rfc_1071) {
  const auto data = bytes_of({0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7});
  EXPECT_EQ(__builtin_bswap16(checksum_fold(checksum_bytes(data.data(), data.size()))), 0xddf2);
}

TEST(checksum, ip_header_known_vector) {
  auto data = bytes_of({0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                        0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7});
  EXPECT_TRUE(checksum_good(checksum_bytes(data.data(), data.size())));
  data[10] = data[11] = std::byte(0);
  checksum_accumulator acc;
  acc.add(data.data(), data.size());
  EXPECT_EQ(__builtin_bswap16(acc.complement()), 0xb861);
}

TEST(checksum, every_length_and_start_agrees_with_the_naive_sum) {
  prng random(1);
  std::vector<std::byte> data(400);
  for (auto& b : data)
    b = std::byte(random.next());
  for (size_t start = 0; start < 9; ++start)
    for (size_t n = 0; start + n <= data.size(); ++n)
      ASSERT_EQ(canonical(__builtin_bswap16(checksum_fold(checksum_bytes(&data[start], n)))),
                canonical(naive(&data[start], n)))
          << start << " " << n;
}

TEST(checksum, carries_are_kept) {
  std::vector<std::byte> data(4096, std::byte(0xff));
  EXPECT_EQ(checksum_fold(checksum_bytes(data.data(), data.size())), 0xffff);
  EXPECT_EQ(checksum_fold(checksum_bytes(data.data(), data.size(), UINT64_MAX)), 0xffff);
  data[0] = std::byte(0);
  EXPECT_EQ(__builtin_bswap16(checksum_fold(checksum_bytes(data.data(), data.size()))), 0x00ff);
}

TEST(checksum, random_chains_agree_with_the_naive_sum) {
  const uint64_t seed = 42;
  prng random(seed);
  testing::test_memory m;
  packet_slab slab(m);
  for (int round = 0; round < 300; ++round) {
    packet_ptr p = slab.make();
    std::vector<std::byte> flat;
    const uint64_t count = random.between(1, packet::fragments_max);
    for (uint64_t i = 0; i < count; ++i) {
      fragment f = make_heap_fragment(m, uint32_t(random.below(80)), uint32_t(random.below(5)));
      for (auto& b : f.bytes())
        flat.push_back(b = std::byte(random.next()));
      p->append(std::move(f));
    }
    const uint32_t offset = uint32_t(random.below(flat.size() + 1));
    const uint32_t length = uint32_t(random.below(flat.size() - offset + 1));
    ASSERT_EQ(canonical(__builtin_bswap16(checksum_fold(checksum_packet(*p, offset, length)))),
              canonical(naive(flat.data() + offset, length)))
        << "seed " << seed << " round " << round;
  }
}

TEST(checksum, pseudo_header_is_the_sum_of_its_bytes) {
  const auto data = bytes_of({10, 1, 2, 3, 192, 168, 7, 9, 0, 6, 0x12, 0x34});
  const uint64_t sum = pseudo_header_sum(ipv4_address::of(10, 1, 2, 3), ipv4_address::of(192, 168, 7, 9), 6, 0x1234);
  EXPECT_EQ(checksum_fold(sum), checksum_fold(checksum_bytes(data.data(), data.size())));
}

}  // namespace
}  // namespace solaster::net

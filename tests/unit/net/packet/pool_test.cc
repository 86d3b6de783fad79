#include "net/packet/pool.hh"

#include <gtest/gtest.h>

#include <vector>

#include "net/packet/heap_buffer.hh"
#include "net/packet/packet.hh"
#include "tests/unit/net/support/test_memory.hh"

namespace solaster::net {
namespace {

TEST(buffer_pool, gives_distinct_buffers_up_to_its_limit) {
  testing::test_memory m;
  pool_ptr pool(
      buffer_pool::make(m, {.buffer_size = 2000, .buffers_max = 10, .buffers_per_region = 4, .low_water = 3}));
  EXPECT_EQ(pool->buffer_size(), 2048u);  // a multiple of 64
  std::vector<fragment> held;
  for (int i = 0; i < 10; ++i) {
    held.push_back(pool->allocate(64, 100));
    ASSERT_TRUE(held.back());
    EXPECT_EQ(held.back().headroom(), 64u);
    EXPECT_EQ(held.back().bus(m).value, reinterpret_cast<uint64_t>(held.back().data()));
    EXPECT_EQ(pool->low(), i >= 7);
    ASSERT_TRUE(pool->is_valid());
  }
  EXPECT_FALSE(pool->allocate(0, 0));
  held.pop_back();
  EXPECT_TRUE(pool->allocate(0, 0));
}

TEST(buffer_pool, outlives_its_user_until_the_last_buffer_is_back) {
  testing::test_memory m;
  fragment kept;
  {
    pool_ptr pool(buffer_pool::make(m, {.buffers_max = 4}));
    kept = pool->allocate(0, 10);
    fragment other = kept.share();
  }
  kept.data()[0] = std::byte(1);
  EXPECT_GT(m.live_objects(), 0u);
  kept.reset();
  EXPECT_EQ(m.live_objects(), 0u);
}

TEST(buffer_pool, is_low_when_memory_is_out_and_recovers) {
  testing::test_memory m;
  pool_ptr pool(buffer_pool::make(m, {.buffers_max = 100, .buffers_per_region = 2, .low_water = 1}));
  fragment a = pool->allocate(0, 1), b = pool->allocate(0, 1);
  m.fail_after(1);  // the control blocks, but not the region
  EXPECT_FALSE(pool->allocate(0, 1));
  EXPECT_TRUE(pool->low());
  m.fail_after(UINT64_MAX);
  EXPECT_TRUE(pool->allocate(0, 1));
  EXPECT_FALSE(pool->low());
  EXPECT_TRUE(pool->is_valid());
}

TEST(heap_buffer, is_charged_at_its_size_and_copies) {
  testing::test_memory m;
  fragment f = make_heap_fragment(m, 5, 7);
  EXPECT_EQ(f.headroom(), 7u);
  EXPECT_EQ(f.tailroom(), 0u);
  EXPECT_EQ(f.owner()->charge, m.live_bytes());
  memcpy(f.data(), "hello", 5);
  fragment g = copy_to_heap(m, f.data(), 5);
  EXPECT_EQ(memcmp(g.data(), "hello", 5), 0);
  m.fail_after(0);
  EXPECT_FALSE(make_heap_fragment(m, 1));
}

TEST(packet, copy_out_crosses_fragments) {
  testing::test_memory m;
  packet_slab slab(m);
  packet_ptr p = slab.make();
  for (const char* part : {"ab", "", "cde", "f"})
    p->append(copy_to_heap(m, reinterpret_cast<const std::byte*>(part), uint32_t(strlen(part))));
  char out[7]{};
  copy_out(*p, 1, reinterpret_cast<std::byte*>(out), 4);
  EXPECT_STREQ(out, "bcde");
}

TEST(packet, trimming_drops_fragments_and_keeps_one) {
  testing::test_memory m;
  packet_slab slab(m);
  packet_ptr p = slab.make();
  for (uint32_t n : {3, 4, 5})
    p->append(make_heap_fragment(m, n));
  p->trim_front(3);
  EXPECT_EQ(p->fragment_count(), 2u);
  p->truncate(4);
  EXPECT_EQ(p->fragment_count(), 1u);
  EXPECT_EQ(p->size(), 4u);
  p->trim_front(4);
  EXPECT_EQ(p->fragment_count(), 1u);
  EXPECT_EQ(p->size(), 0u);
}

}  // namespace
}  // namespace solaster::net

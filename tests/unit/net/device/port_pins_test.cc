#include "net/device/port_pins.hh"

#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "net/base/prng.hh"

namespace solaster::net {
namespace {

constexpr uint8_t tcp = 6, udp = 17;

struct pins : testing::Test {
  void TearDown() override { EXPECT_TRUE(p->is_valid()); }
  std::unique_ptr<port_pins> p = std::make_unique<port_pins>();
};

TEST_F(pins, a_port_goes_to_the_shard_that_has_it) {
  EXPECT_EQ(p->shard_for(udp, 53, 3), 3u);
  ASSERT_TRUE(p->pin(udp, 53, 1, false));
  EXPECT_EQ(p->shard_for(udp, 53, 3), 1u);
  EXPECT_EQ(p->shard_for(udp, 53, 1), 1u);
  EXPECT_EQ(p->shard_for(tcp, 53, 3), 3u);
  EXPECT_EQ(p->shard_for(udp, 54, 3), 3u);
}

TEST_F(pins, a_port_that_is_let_go_leaves_nothing) {
  for (uint32_t i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(p->pin(udp, uint16_t(i), 1, false)) << i;
    p->unpin(udp, uint16_t(i), 1);
  }
  EXPECT_EQ(p->size(), 0u);
  EXPECT_EQ(p->shard_for(udp, 7, 0), 0u);
  p->unpin(udp, 7, 0);
  EXPECT_EQ(p->size(), 0u);
}

TEST_F(pins, one_port_has_one_owner_unless_all_share_it) {
  ASSERT_TRUE(p->pin(udp, 53, 1, false));
  EXPECT_EQ(p->pin(udp, 53, 2, false).error(), errc::addrinuse);
  EXPECT_EQ(p->pin(udp, 53, 2, true).error(), errc::addrinuse);
  EXPECT_TRUE(p->pin(udp, 53, 1, false));
  ASSERT_TRUE(p->pin(udp, 54, 1, true));
  EXPECT_EQ(p->pin(udp, 54, 2, false).error(), errc::addrinuse);
  EXPECT_TRUE(p->pin(udp, 54, 2, true));
  EXPECT_EQ(p->shard_for(udp, 54, 2), 2u);
  EXPECT_EQ(p->shard_for(udp, 54, 0), 1u);
  p->unpin(udp, 54, 1);
  EXPECT_EQ(p->shard_for(udp, 54, 0), 2u);
  p->unpin(udp, 53, 1);
  EXPECT_TRUE(p->pin(udp, 53, 2, false));
}

TEST_F(pins, there_is_room_for_so_many_and_an_error_beyond) {
  for (uint32_t i = 0; i < port_pins::pins_max; ++i)
    ASSERT_TRUE(p->pin(udp, uint16_t(7 * i), i % 64, false));
  EXPECT_EQ(p->pin(udp, 65535, 0, false).error(), errc::nobufs);
  for (uint32_t i = 0; i < port_pins::pins_max; ++i)
    ASSERT_EQ(p->shard_for(udp, uint16_t(7 * i), 63 - i % 64), i % 64);
  p->unpin(udp, 7, 1);
  EXPECT_TRUE(p->pin(udp, 65535, 0, false));
}

TEST_F(pins, agrees_with_a_map_after_many_random_steps) {
  const uint64_t seed = 11;
  prng random(seed);
  std::map<uint16_t, uint64_t> model;
  for (int i = 0; i < 200'000; ++i) {
    const auto port = uint16_t(random.below(1500));
    const auto shard = uint32_t(random.below(4));
    if (random.below(2)) {
      const bool full = model.size() == port_pins::pins_max && !model.count(port);
      ASSERT_EQ(bool(p->pin(tcp, port, shard, true)), !full);
      if (!full)
        model[port] |= uint64_t(1) << shard;
    } else {
      p->unpin(tcp, port, shard);
      if (auto at = model.find(port); at != model.end() && (at->second &= ~(uint64_t(1) << shard)) == 0)
        model.erase(at);
    }
    const auto asked = uint16_t(random.below(1500));
    const auto by_flow = uint32_t(random.below(4));
    const auto at = model.find(asked);
    const uint64_t shards = at == model.end() ? 0 : at->second;
    ASSERT_EQ(p->shard_for(tcp, asked, by_flow),
              shards == 0 || (shards >> by_flow & 1) ? by_flow : uint32_t(__builtin_ctzll(shards)));
    if (i % 1000 == 0) {
      ASSERT_TRUE(p->is_valid());
      ASSERT_EQ(p->size(), model.size());
    }
  }
}

}  // namespace
}  // namespace solaster::net

#include "net/device/loopback.hh"

#include <gtest/gtest.h>

#include "net/packet/heap_buffer.hh"
#include "tests/unit/net/virtio/mock_device.hh"

namespace solaster::net {
namespace {

TEST(loopback, what_one_side_sends_the_other_receives_in_order) {
  virtio::test::test_memory m;
  packet_slab slab(m);
  loopback_device a({{2, 0, 0, 0, 0, 1}}, 2, true), b({{2, 0, 0, 0, 0, 2}}, 2, true);
  loopback_device::join(a, b);
  ASSERT_TRUE(a.set_queue_pairs(2));
  ASSERT_TRUE(b.set_queue_pairs(2));
  queue* qa = *a.open_queue({.index = 1, .rx_depth = 4}, m, slab);
  queue* qb = *b.open_queue({.index = 1, .rx_depth = 4}, m, slab);
  packet_list l;
  for (uint32_t i = 0; i < 6; ++i) {
    packet_ptr p = slab.make();
    p->append(make_heap_fragment(m, 60 + i));
    l.push_back(std::move(p));
  }
  EXPECT_TRUE(qb->arm());
  EXPECT_EQ(qa->transmit(l), 4u);  // the other side's ring is full
  EXPECT_FALSE(qb->arm());
  packet_list got;
  EXPECT_EQ(qb->receive(got, 10), 4u);
  EXPECT_EQ(qa->transmit(l), 2u);
  EXPECT_EQ(qb->receive(got, 10), 2u);
  for (uint32_t i = 0; i < 6; ++i)
    EXPECT_EQ(got.pop_front()->size(), 60 + i);
  EXPECT_EQ(qb->stats().rx_packets, 6u);
}

}  // namespace
}  // namespace solaster::net

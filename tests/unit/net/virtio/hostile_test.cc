// net/virtio against a device that lies: whatever it writes, memory stays sound, the lie is counted, and all memory
// comes home when the device has been reset. Run under the sanitizers this is the proof of the ring's checks.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <random>

#include "net/packet/heap_buffer.hh"
#include "tests/unit/net/virtio/mock_device.hh"

namespace solaster::net::virtio::test {
namespace {

struct hostile : testing::Test {
  void open(uint16_t depth = 256) {
    close();
    d = *net_device::make(b.over_mmio, b.mem, {});
    q = static_cast<net_queue*>(*d->open_queue({.rx_depth = depth, .tx_depth = depth}, b.mem, b.slab));
    ASSERT_TRUE(d->start());
  }
  void close() {
    if (!d)
      return;
    EXPECT_TRUE(q->is_valid());
    net_device::destroy(d);
    d = nullptr;
    EXPECT_EQ(b.slab.live(), 0u);
  }
  void TearDown() override { close(); }
  size_t receive() {
    packet_list l;
    return q->receive(l, 1000);
  }
  void send(size_t n) {
    packet_list l;
    for (size_t i = 0; i < n; ++i) {
      packet_ptr p = b.slab.make();
      p->append(make_heap_fragment(b.mem, 100, i % 3 ? 64 : 0));
      memset(p->front().data(), 'x', 100);
      l.push_back(std::move(p));
    }
    q->transmit(l);
  }
  bench b;
  net_device* d = nullptr;
  net_queue* q = nullptr;
};

TEST_F(hostile, an_index_ahead_of_what_was_given_stops_the_queue) {
  open();
  b.device.queues[0].u()->idx = 257;
  EXPECT_EQ(receive(), 0u);
  EXPECT_TRUE(q->broken());
  EXPECT_EQ(q->stats().device_errors, 1u);
  b.device.queues[0].u()->idx = 1;
  EXPECT_EQ(receive(), 0u);
  EXPECT_TRUE(q->arm());  // nothing will come: sleeping is right
}

TEST_F(hostile, an_id_out_of_range_or_given_twice_stops_the_queue) {
  open();
  b.device.queues[0].push(256, 100);
  EXPECT_EQ(receive(), 0u);
  EXPECT_TRUE(q->broken());
  open();
  uint16_t id = b.device.queues[0].pop();
  net_hdr nothing{};
  memcpy(reinterpret_cast<void*>(b.device.queues[0].d()[id].addr), &nothing, sizeof(nothing));
  b.device.queues[0].push(id, 60);
  EXPECT_EQ(receive(), 0u);  // of no buffers: dropped
  b.device.queues[0].push(id, 60);
  EXPECT_EQ(receive(), 0u);
  EXPECT_TRUE(q->broken());
  EXPECT_EQ(q->stats().device_errors, 2u);
}

TEST_F(hostile, a_length_beyond_the_buffer_drops_the_packet_only) {
  open();
  b.device.queues[0].push(b.device.queues[0].pop(), 1 << 30);
  EXPECT_EQ(receive(), 0u);
  EXPECT_FALSE(q->broken());
  EXPECT_EQ(q->stats().device_errors, 1u);
  EXPECT_EQ(q->stats().rx_dropped, 1u);
  EXPECT_TRUE(b.device.deliver(0, "and then it behaves"));
  EXPECT_EQ(receive(), 1u);
}

TEST_F(hostile, too_many_buffers_or_too_short_a_packet_are_dropped) {
  open();
  mock_queue& rx = b.device.queues[0];
  for (uint32_t len : {0u, 5u, uint32_t(sizeof(net_hdr))}) {
    rx.push(rx.pop(), len);
    EXPECT_EQ(receive(), 0u);
  }
  for (uint16_t buffers : {uint16_t(0), uint16_t(21), uint16_t(65535)}) {
    net_hdr h{};
    h.num_buffers = buffers;
    uint16_t id = rx.pop();
    memcpy(reinterpret_cast<void*>(rx.d()[id].addr), &h, sizeof(h));
    rx.push(id, 100);
    EXPECT_EQ(receive(), 0u);
  }
  EXPECT_EQ(q->stats().device_errors, 6u);
  EXPECT_TRUE(b.device.deliver(0, "and then it behaves"));
  EXPECT_EQ(receive(), 1u);
}

TEST_F(hostile, completions_that_never_were_stop_transmit_and_drop_what_follows) {
  open();
  send(3);
  b.device.queues[1].push(77, 0);
  q->reap();
  EXPECT_TRUE(q->broken());
  send(1000);  // taken and dropped, not piled up
  EXPECT_LE(b.slab.live(), 3u);
}

TEST_F(hostile, a_device_that_does_not_reset_keeps_its_memory) {
  open();
  send(3);
  b.device.never_resets = true;
  long before = b.mem.live;
  d->reset();
  EXPECT_EQ(b.mem.live, before);
  d->close_queue(0);
  EXPECT_EQ(b.mem.live, before);
  EXPECT_EQ(b.slab.live(), 3u);
  b.device.never_resets = false;
  d->reset();
  d->close_queue(0);
  EXPECT_EQ(b.slab.live(), 0u);
  net_device::destroy(d);
  d = nullptr;
}

uint64_t seed_of_run() {
  const char* given = std::getenv("SOLASTER_SEED");
  uint64_t seed = given ? strtoull(given, nullptr, 0) : std::random_device()();
  printf("SOLASTER_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

// One random lie, or one honest step: 11 of `kinds` are lies.
void act(std::mt19937_64& rng, unsigned kinds, mock_queue& rx, mock_queue& tx) {
  mock_queue& target = rng() % 2 ? rx : tx;
  switch (rng() % kinds) {
    case 0:
      target.u()->ring[rng() % target.size].id = uint32_t(rng() % 4 ? rng() % 40 : rng());
      return;
    case 1:
      target.u()->ring[rng() % target.size].len = uint32_t(rng() % 2 ? rng() % 3000 : rng());
      return;
    case 2:
      if (rng() % 8 == 0)
        target.u()->idx = uint16_t(rng() % 2 ? target.used + rng() % 40 : rng());
      return;
    case 3:
      target.set_avail_event(uint16_t(rng()));
      return;
    case 4:
      target.u()->flags = uint16_t(rng());
      return;
    case 5: {  // a header of random bytes
      if (!rx.available())
        return;
      uint16_t id = rx.pop() % rx.size;
      uint64_t noise[2] = {rng(), rng()};
      if (rng() % 2)
        noise[1] &= 0x3ffff;  // a plausible number of buffers
      if (rx.d()[id].len == 2048)
        memcpy(reinterpret_cast<void*>(rx.d()[id].addr), noise, sizeof(net_hdr));
      rx.push(id, uint32_t(rng() % 2100));
      return;
    }
    case 6:
      rx.d()[rng() % rx.size].len = uint32_t(rng());
      return;  // the table is shared, too
    case 7:
      tx.d()[rng() % tx.size].next = uint16_t(rng());
      return;
    case 8:
      if (rng() % 8 == 0)
        tx.push(uint32_t(rng() % 40), uint32_t(rng()));
      return;
    case 9:
      if (tx.available())
        tx.push(tx.pop(), 0);
      return;
    case 10:
      if (rng() % 8 == 0)
        rx.push(uint32_t(rng() % 34), uint32_t(rng() % 2048));
      return;
    default: {
      if (!rx.available())
        return;
      uint16_t id = rx.pop() % rx.size;
      net_hdr h{};
      h.num_buffers = uint16_t(1 + rng() % 3);
      if (rx.d()[id].len == 2048)
        memcpy(reinterpret_cast<void*>(rx.d()[id].addr), &h, sizeof(h));
      rx.push(id, uint32_t(60 + rng() % 1900));
    }
  }
}

TEST_F(hostile, random_lies_never_harm) {
  uint64_t seed = seed_of_run(), lies = 0, broke = 0, packets = 0, starved = 0;
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 300; ++round) {
    open(32);
    packet_list held;  // by an application: the ring lives on what the pool has beside
    for (int step = 0; step < 60; ++step) {
      for (unsigned acts = 1 + rng() % 4; acts > 0; --acts)
        act(rng, round % 2 ? 16 : 200, b.device.queues[0], b.device.queues[1]);
      // Memory comes and goes; the ring is looked at now and then, and may have run dry or over.
      if (rng() % 8 == 0)
        b.mem.fail_after = rng() % 2 ? long(rng() % 40) : -1;
      if (rng() % 40 == 0)
        held = {};
      packet_list l;
      if (rng() % 3 != 0)
        packets += q->receive(l, 1 + rng() % 40);
      for (packet* p = l.front(); p; p = p->next) {
        for (uint32_t i = 0; i < p->fragment_count(); ++i) {
          // Every byte handed up is ours to read and to write.
          for (std::byte& x : p->frag(i).bytes())
            x ^= std::byte(1);
        }
      }
      held.append(std::move(l));
      if (rng() % 4 == 0 && b.mem.fail_after < 0)
        send(rng() % 5);
      q->reap();
      q->kick();
      starved += q->starving();
      if (rng() % 2) {
        q->arm();
      } else {
        q->disarm();
      }
      ASSERT_TRUE(q->is_valid()) << "seed " << seed << " round " << round << " step " << step;
    }
    b.mem.fail_after = -1;
    lies += q->stats().device_errors;
    broke += q->broken();
    packets += q->receive(held, 1000);
    EXPECT_FALSE(q->starving());
    held = {};
    close();
  }
  printf("%llu packets, %llu lies counted, %llu of 300 devices stopped, starved %llu times\n",
         static_cast<unsigned long long>(packets), static_cast<unsigned long long>(lies),
         static_cast<unsigned long long>(broke), static_cast<unsigned long long>(starved));
  EXPECT_GT(starved, 0u);
  EXPECT_GT(lies, 100u);
  EXPECT_GT(packets, 100u);
}

}  // namespace
}  // namespace solaster::net::virtio::test

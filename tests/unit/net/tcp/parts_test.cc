// The small parts of TCP that stand alone.
#include <gtest/gtest.h>

#include <set>

#include "net/base/prng.hh"
#include "net/packet/heap_buffer.hh"
#include "net/tcp/assembler.hh"
#include "net/tcp/connection.hh"
#include "net/tcp/demux.hh"
#include "net/tcp/fragment_queue.hh"
#include "net/tcp/isn.hh"
#include "net/tcp/reno.hh"
#include "net/tcp/rtt.hh"
#include "net/tcp/slab.hh"
#include "net/tcp/timers.hh"
#include "tests/unit/net/support/frames.hh"
#include "tests/unit/net/support/test_memory.hh"

namespace solaster::net::tcp {
namespace {

using namespace testing;

const flow_key one = flow_key::of(ip_of(1), 80, ip_of(2), 5000);

// ---- initial sequence numbers: RFC 6528 3

TEST(isn, of_one_name_grows_with_time) {
  const hash_key key{1, 2};
  const seq first = initial_sequence(key, one, {1'000'000'000});
  EXPECT_EQ(initial_sequence(key, one, {1'000'000'000}).value(), first.value());
  EXPECT_EQ(initial_sequence(key, one, {1'000'004'000}) - first, 1);  // a tick each 4 microseconds
  EXPECT_EQ(initial_sequence(key, one, {2'000'000'000}) - first, 250'000);
}

TEST(isn, of_another_name_or_secret_tells_nothing) {
  const hash_key key{1, 2}, other{1, 3};
  const instant now{1'000'000'000};
  std::set<uint32_t> seen;
  for (uint16_t port = 5000; port < 6000; ++port) {
    for (const flow_key& name : {flow_key::of(ip_of(1), 80, ip_of(2), port), flow_key::of(ip_of(1), port, ip_of(2), 80),
                                 flow_key::of(ip_of(2), 80, ip_of(1), port)}) {
      seen.insert(initial_sequence(key, name, now).value());
      seen.insert(initial_sequence(other, name, now).value());
    }
  }
  EXPECT_GE(seen.size(), 5995u);
  // Not a number and a port: neighbours lie anywhere.
  uint32_t near = 0;
  for (uint16_t port = 5000; port < 6000; ++port) {
    const seq a = initial_sequence(key, flow_key::of(ip_of(1), 80, ip_of(2), port), now);
    const seq b = initial_sequence(key, flow_key::of(ip_of(1), 80, ip_of(2), uint16_t(port + 1)), now);
    near += std::abs(int64_t(a - b)) < 1 << 24;
  }
  EXPECT_LT(near, 50u);
}

// ---- round trips: RFC 6298

TEST(rtt, backing_off_stays_until_a_sample) {
  const tcp_config config;
  rtt_estimator r(config);
  EXPECT_EQ(r.rto(config), seconds(1));
  r.back_off();
  r.back_off();
  EXPECT_EQ(r.rto(config), seconds(4));
  r.sample(seconds(1), config);
  EXPECT_EQ(r.rto(config), seconds(3));  // SRTT 1 s, RTTVAR 0.5 s
  EXPECT_EQ(r.srtt(), seconds(1));
  EXPECT_EQ(r.rttvar(), milliseconds(500));
  for (int i = 0; i < 100; ++i) {
    r.back_off();
  }
  EXPECT_EQ(r.rto(config), config.rto_max);
}

TEST(rtt, after_a_lost_syn_it_is_at_least_three_seconds) {
  const tcp_config config;
  rtt_estimator r(config);
  r.back_off();
  r.lost_syn(seconds(3));
  EXPECT_EQ(r.rto(config), seconds(3));
  r.sample(milliseconds(10), config);
  EXPECT_EQ(r.rto(config), config.rto_min);
}

// ---- congestion: RFC 5681

TEST(reno, a_lost_syn_begins_with_one_segment) {
  reno c;
  c.start(1000, 10);
  EXPECT_EQ(c.cwnd(), 10'000u);
  c.lost_syn(1000);
  EXPECT_EQ(c.cwnd(), 1000u);
  c.acknowledged(1000, 1000, false);
  EXPECT_EQ(c.cwnd(), 2000u);
  c.idle();
  EXPECT_EQ(c.cwnd(), 2000u);
}

// ---- segments out of order

struct pieces : ::testing::Test {
  ~pieces() override { a.clear(); }
  bool insert(uint32_t at, uint32_t length, bool fin = false, uint32_t max = 100) {
    packet_ptr p = slab.make();
    p->append(make_heap_fragment(memory, length));
    for (uint32_t i = 0; i < length; ++i) {
      p->front().data()[i] = std::byte(at + i);
    }
    const bool taken = a.insert({seq(at), std::move(p), fin}, max);
    EXPECT_TRUE(a.is_valid());
    return taken;
  }
  // Everything from `at` on that is there: how far that goes, and whether the end is there.
  std::pair<uint32_t, bool> drain(uint32_t at) {
    assembler::piece p;
    while (a.take(seq(at), p)) {
      EXPECT_TRUE(a.is_valid());
      EXPECT_EQ(p.begin.value(), at);
      for (uint32_t i = 0; i < p.payload->size(); ++i) {
        EXPECT_EQ(p.payload->front().data()[i], std::byte(at + i));
      }
      at += p.payload->size();
      if (p.fin) {
        return {at, true};
      }
    }
    return {at, false};
  }
  test_memory memory;
  packet_slab slab{memory};
  assembler a;
};

TEST_F(pieces, come_out_in_order_and_once) {
  for (uint64_t seed = 1; seed < 200; ++seed) {
    prng r(seed);
    std::vector<bool> there(400);
    for (int i = 0; i < 40; ++i) {
      const auto at = uint32_t(1 + r.below(300)), n = uint32_t(1 + r.below(60));
      insert(at, n);
      std::fill_n(there.begin() + at, n, true);
    }
    uint32_t end = 1;
    while (there[end]) {
      ++end;
    }
    EXPECT_EQ(drain(1).first, end) << "seed " << seed;
    a.clear();
  }
}

TEST_F(pieces, are_charged_with_their_packets) {
  insert(10, 1);
  EXPECT_GE(a.charge(), sizeof(packet) + 1);
  a.clear();
  EXPECT_EQ(a.charge(), 0u);
}

TEST_F(pieces, the_end_alone_counts) {
  EXPECT_TRUE(insert(10, 5));
  EXPECT_TRUE(insert(15, 0, true));
  EXPECT_FALSE(insert(15, 0, true));
  EXPECT_EQ(drain(10), (std::pair<uint32_t, bool>{15, true}));
}

TEST_F(pieces, early_ones_push_late_ones_out) {
  EXPECT_TRUE(insert(30, 5, false, 2));
  EXPECT_TRUE(insert(20, 5, false, 2));
  EXPECT_FALSE(insert(40, 5, false, 2));
  EXPECT_TRUE(insert(10, 5, false, 2));
  EXPECT_EQ(a.size(), 2u);
  EXPECT_EQ(drain(10).first, 15u);
  EXPECT_EQ(drain(20).first, 25u);
  EXPECT_TRUE(a.empty());
}

// ---- tables

TEST(slab, gives_back_what_is_free) {
  test_memory memory;
  slab<connection_counters> s(memory, 4);
  std::vector<connection_counters*> all;
  for (int i = 0; i < 1000; ++i) {
    all.push_back(s.make());
  }
  for (auto* p : all) {
    s.destroy(p);
    EXPECT_TRUE(s.is_valid());
  }
  EXPECT_LE(memory.live_objects(), 4u);
}

TEST(demux, finds_what_is_in_it_and_says_when_it_is_not_valid) {
  test_memory memory;
  demux d(memory, {3, 4});
  std::vector<std::unique_ptr<time_wait>> all;
  for (uint16_t port = 1; port < 1000; ++port) {
    all.push_back(std::make_unique<time_wait>(flow_key::of(ip_of(1), port, ip_of(2), 9)));
    d.insert(all.back().get());
  }
  EXPECT_TRUE(d.is_valid());
  EXPECT_EQ(d.find(flow_key::of(ip_of(1), 500, ip_of(2), 9)), all[499].get());
  EXPECT_EQ(d.find(one), nullptr);
  all[10]->key = one;
  EXPECT_FALSE(d.is_valid());
  all[10]->key = flow_key::of(ip_of(1), 11, ip_of(2), 9);
  for (auto& t : all) {
    d.remove(t.get());
  }
  EXPECT_TRUE(d.is_valid());
  EXPECT_EQ(d.size(), 0u);
}

TEST(fragment_queue, keeps_its_order_and_says_when_it_is_not_valid) {
  test_memory memory;
  fragment_queue q;
  uint32_t in = 0, out = 0;
  prng r(7);
  for (int i = 0; i < 5000; ++i) {
    if (r.below(5) < 3 && q.size() < 600) {
      ASSERT_TRUE(q.reserve(memory, 1));
      q.push(make_heap_fragment(memory, 1 + in++ % 100));
    } else if (!q.empty()) {
      EXPECT_EQ(q.pop().size(), 1 + out++ % 100);
      q.shrink(memory);
    }
    ASSERT_TRUE(q.is_valid());
  }
  fragment held = std::move(q.front());
  EXPECT_FALSE(q.is_valid());
  q.front() = std::move(held);
  q.clear(memory);
  EXPECT_TRUE(q.is_valid());
}

TEST(timers, the_earliest_is_on_top) {
  test_memory memory;
  const tcp_config config;
  timer_heap heap(memory);
  std::vector<std::unique_ptr<connection>> all;
  ASSERT_TRUE(heap.reserve(200));
  prng r(3);
  for (int i = 0; i < 200; ++i) {
    all.push_back(std::make_unique<connection>(one, config));
    heap.set(*all.back(), {int64_t(r.below(1000))});
  }
  for (int i = 0; i < 2000; ++i) {
    connection& c = *all[r.below(all.size())];
    if (r.below(3) == 0) {
      heap.remove(c);
    } else {
      heap.set(c, {int64_t(r.below(1000))});
    }
    ASSERT_TRUE(heap.is_valid());
    instant earliest = instant::never();
    for (const auto& one_of_them : all) {
      earliest = std::min(earliest, one_of_them->entry_at);
    }
    ASSERT_EQ(heap.next(), earliest);
  }
  for (auto& c : all) {
    heap.remove(*c);
  }
}

}  // namespace
}  // namespace solaster::net::tcp

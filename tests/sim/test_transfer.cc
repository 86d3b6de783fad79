#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/sim/world.hh"

namespace solaster::sim {
namespace {

using namespace net;

host_config host(uint8_t number, uint64_t seed) {
  host_config c;
  c.address = ipv4_address::of(10, 0, 0, number);
  c.seed = seed;
  c.stack.secret[0] = uint8_t(seed);
  c.stack.secret[1] = number;
  c.line.delay = milliseconds(1);
  c.line.bits_per_second = 1'000'000'000;
  return c;
}

// Nobody is given up who was not rude.
void expect_clean(world& w, uint64_t seed) {
  EXPECT_EQ(w.verdict(), "") << "seed " << seed;
}

TEST(transfer, both_ways_over_a_clean_line) {
  world w;
  w.check_every(1);
  tcp_host& a = w.add_host(host(1, 1));
  tcp_host& b = w.add_host(host(2, 1));
  w.listen(b, 80, 10);
  w.converse(a, b, 80, {.bytes = 1'000'000}, {.bytes = 777'777}, 1);
  EXPECT_TRUE(w.run(seconds(600)));
  expect_clean(w, 1);
  w.settle(seconds(200));
  EXPECT_EQ(a.tcp().connection_count(), 0u);
  EXPECT_EQ(b.tcp().connection_count(), 0u);
  EXPECT_EQ(a.stats().tcp_retransmits + b.stats().tcp_retransmits, 0u);
}

// Whatever is lost on the way, what one side wrote is what the other side read.
struct storm {
  uint64_t seed;
  uint32_t conversations = 8;
  uint64_t bytes_max = 300'000;
  duration limit = seconds(36'000);
};

void random_transfers(const storm& s) {
  prng r(s.seed);
  const auto pick = [&](std::initializer_list<uint32_t> choices) { return choices.begin()[r.below(choices.size())]; };
  world w(pick({2048, 2048, 16384}));
  w.check_every(pick({7, 31, 101}));
  std::string what;
  const auto make = [&](uint8_t number) {
    host_config c = host(number, s.seed);
    c.line.loss_ppm = uint32_t(r.below(pick({1, 1, 20'000, 100'000})));
    c.line.reorder_ppm = uint32_t(r.below(pick({1, 50'000, 200'000})));
    c.line.duplicate_ppm = uint32_t(r.below(pick({1, 30'000})));
    c.line.corrupt_ppm = uint32_t(r.below(pick({1, 1, 30'000})));
    c.line.delay = microseconds(int64_t(pick({10, 1'000, 20'000})));
    c.line.jitter = microseconds(int64_t(pick({0, 500, 5'000})));
    c.line.bits_per_second = pick({1'000'000, 100'000'000, 1'000'000'000});
    c.line.quantum = microseconds(int64_t(pick({0, 0, 100})));
    c.line.queue_max = pick({20, 200, 4096});
    c.tx_depth = pick({1, 4, 64, 1024});
    c.offload = r.below(2);
    c.merge = r.below(2);
    c.mtu = uint16_t(pick({576, 1500, 1500, 9000}));
    tcp_config& t = c.stack.tcp;
    t.send_buffer_bytes = pick({100, 5'000, 65'536, 300'000, 1 << 20, 1 << 20, 1 << 20, 1 << 20});
    t.receive_buffer_bytes = pick({1, 500, 5'000, 65'535, 300'000, 300'000, 1 << 20, 1 << 20, 1 << 20});
    if (r.below(20) == 0) {
      t.send_buffer_bytes = 1;
    }
    if (t.receive_buffer_bytes < 1000 || t.send_buffer_bytes < 100) {
      c.line.delay = microseconds(10);
    }
    t.out_of_order_segments_max = pick({1, 10, 256});
    t.copy_break_bytes = pick({64, 256, 1500});
    t.receive_memory_max = pick({100'000, 64 << 20});
    return c;
  };
  const host_config first = make(1);
  const host_config second = make(2);
  const bool tiny = std::min({first.stack.tcp.receive_buffer_bytes, second.stack.tcp.receive_buffer_bytes,
                              first.stack.tcp.send_buffer_bytes, second.stack.tcp.send_buffer_bytes}) < 3'000;
  tcp_host& a = w.add_host(first);
  tcp_host& b = w.add_host(second);
  w.listen(b, 80, pick({1, 100}));
  const auto side_of = [&](bool rude, bool either_rude) {
    side_config c;
    c.bytes = r.below(tiny ? 300 : s.bytes_max);
    c.chunk_max = pick({1, 10, 1'000, 100'000});
    if (c.chunk_max < 1'000) {
      c.bytes = std::min<uint64_t>(c.bytes, 20'000);
    }
    c.read_max = pick({1, 100, 10'000, 1 << 20});
    c.stall_ppm = pick({0, 0, 10'000, 200'000});
    if (c.read_max < 10'000) {
      c.stall_ppm = std::min(c.stall_ppm, c.read_max * 5);  // or a byte at a time takes days
    }
    c.stall_max = milliseconds(int64_t(pick({1, 100, 5'000})));
    c.nodelay = r.below(2);
    c.keepalive = either_rude;
    if (rude) {
      (r.below(2) ? c.abort_after : c.release_after) = r.below(c.bytes + 1);
    }
    return c;
  };
  for (uint32_t i = 0; i < s.conversations; ++i) {
    const bool rude = r.below(4) == 0;
    w.converse(a, b, 80, side_of(rude && r.below(2), rude), side_of(rude, rude), s.seed * 1000 + i);
  }
  EXPECT_TRUE(w.run(s.limit)) << "stuck, seed " << s.seed;
  expect_clean(w, s.seed);
  if (std::getenv("SIM_VERBOSE")) {
    const fault_counters f = w.faults();
    uint64_t bytes = 0;
    uint32_t cut = 0;
    for (const auto& c : w.conversations()) {
      bytes += c.client->read() + c.server->read();
      cut += c.client->cut_short() || c.server->cut_short();
    }
    std::printf(
        "seed %lu: %lu bytes, %u cut short, %.1f s, %lu steps; packets %lu lost %lu reordered %lu duplicated %lu "
        "corrupted %lu overflowed %lu; retransmitted %lu\n",
        s.seed, bytes, cut, double(w.now().ns) / 1e9, w.steps(), f.packets, f.lost, f.reordered, f.duplicated,
        f.corrupted, f.overflowed, a.stats().tcp_retransmits + b.stats().tcp_retransmits);
  }
  w.settle(seconds(4000));
  EXPECT_EQ(a.tcp().connection_count(), 0u) << "seed " << s.seed;
  EXPECT_EQ(b.tcp().connection_count(), 0u) << "seed " << s.seed;
}

class random_transfer : public testing::TestWithParam<uint64_t> {};

TEST_P(random_transfer, arrives_whole) {
  const char* base = std::getenv("SIM_SEED");
  random_transfers({.seed = base ? std::strtoull(base, nullptr, 0) : GetParam()});
}
// Allocations fail for a while, again and again, on both sides; nothing breaks, and in the end everything has arrived.
TEST(transfer, memory_that_runs_out_and_comes_back) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    prng r(seed);
    world w;
    w.check_every(11);
    host_config first = host(1, seed);
    host_config second = host(2, seed);
    first.line.loss_ppm = second.line.loss_ppm = 10'000;
    first.offload = seed % 2;
    tcp_host& a = w.add_host(first);
    tcp_host& b = w.add_host(second);
    w.listen(b, 80, 10);
    for (uint64_t i = 0; i < 4; ++i) {
      w.converse(a, b, 80, {.bytes = 500'000}, {.bytes = 500'000, .chunk_max = 1000}, seed * 10 + i);
    }
    for (int i = 0; i < 200; ++i) {
      a.home().fail_after(i % 2 ? UINT64_MAX : r.below(200));
      b.home().fail_after(i % 3 ? UINT64_MAX : r.below(200));
      a.refuse_packets(r.below(4) == 0);
      w.settle(milliseconds(int64_t(r.below(20))));
    }
    a.refuse_packets(false);
    a.home().fail_after(UINT64_MAX);
    b.home().fail_after(UINT64_MAX);
    EXPECT_TRUE(w.run(seconds(36'000))) << "seed " << seed;
    expect_clean(w, seed);
  }
}

// Connections come and go by the hundred, and leave nothing behind.
TEST(transfer, storms_of_connections_leave_nothing) {
  world w;
  host_config first = host(1, 5);
  host_config second = host(2, 5);
  first.line.loss_ppm = second.line.loss_ppm = 20'000;
  second.stack.tcp.syn_backlog_max = 50;
  tcp_host& a = w.add_host(first);
  tcp_host& b = w.add_host(second);
  w.listen(b, 80, 20);
  for (uint64_t i = 0; i < 1000; ++i) {
    const bool rude = i % 3 == 0;
    side_config c{.bytes = i % 50, .abort_after = rude ? i % 10 : UINT64_MAX, .keepalive = true};
    w.converse(a, b, 80, c, {.bytes = i % 70, .keepalive = true}, i + 1);
  }
  EXPECT_TRUE(w.run(seconds(36'000)));
  expect_clean(w, 5);
  w.settle(seconds(4000));
  EXPECT_EQ(a.tcp().connection_count(), 0u);
  EXPECT_EQ(b.tcp().connection_count(), 0u);
  EXPECT_LT(b.home().peak(), 8u << 20);
}

INSTANTIATE_TEST_SUITE_P(seeds, random_transfer, testing::Range<uint64_t>(1, 101));

}  // namespace
}  // namespace solaster::sim

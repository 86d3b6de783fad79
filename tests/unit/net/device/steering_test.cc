#include "net/device/steering.hh"

#include <gtest/gtest.h>

#include <map>

#include "net/base/prng.hh"
#include "net/packet/heap_buffer.hh"
#include "tests/unit/net/support/frames.hh"
#include "tests/unit/net/support/test_memory.hh"

namespace solaster::net {
namespace {

using namespace testing;
using kind = enum classification::kind;

// The definition (Virtio 1.2, 5.1.6.4.3.3), bit by bit.
uint32_t naive(const std::array<uint8_t, 40>& key, const bytes& input) {
  uint32_t result = 0;
  for (size_t bit = 0; bit < input.size() * 8; ++bit) {
    if (!(input[bit / 8] >> (7 - bit % 8) & 1))
      continue;
    for (size_t i = 0; i < 32; ++i) {
      const size_t at = bit + i;
      if (key[at / 8] >> (7 - at % 8) & 1)
        result ^= 1u << (31 - i);
    }
  }
  return result;
}

four_tuple received(ipv4_address from, uint16_t from_port, ipv4_address to, uint16_t to_port) {
  return {{to, to_port}, {from, from_port}};
}

TEST(toeplitz, vectors_of_microsofts_specification) {
  const steering s = steering::make(2);
  auto a = [](int b, int c, int d, int e) { return ipv4_address::of(uint8_t(b), uint8_t(c), uint8_t(d), uint8_t(e)); };
  EXPECT_EQ(s.toeplitz(received(a(66, 9, 149, 187), 2794, a(161, 142, 100, 80), 1766)), 0x51ccc178u);
  EXPECT_EQ(s.toeplitz(received(a(199, 92, 111, 2), 14230, a(65, 69, 140, 83), 4739)), 0xc626b0eau);
  EXPECT_EQ(s.toeplitz(received(a(24, 19, 198, 95), 12898, a(12, 22, 207, 184), 38024)), 0x5c2b394au);
  EXPECT_EQ(s.toeplitz(received(a(38, 27, 205, 30), 48228, a(209, 142, 163, 6), 2217)), 0xafc7327fu);
  EXPECT_EQ(s.toeplitz(received(a(153, 39, 163, 191), 44251, a(202, 188, 127, 2), 1303)), 0x10e828a2u);
}

TEST(toeplitz, agrees_with_the_definition_under_any_key) {
  prng random(11);
  for (int i = 0; i < 50; ++i) {
    rss_config c;
    for (auto& b : c.key)
      b = uint8_t(random.next());
    const steering s = steering::make(c, 1);
    const ipv4_address from{uint32_t(random.next())}, to{uint32_t(random.next())};
    const uint16_t p = uint16_t(random.next()), q = uint16_t(random.next());
    ASSERT_EQ(s.toeplitz(received(from, p, to, q)),
              naive(c.key, be32(from.value) + be32(to.value) + be16(p) + be16(q)));
  }
}

struct classify : ::testing::Test {
  classification of(const bytes& frame, uint32_t cut = 0) {
    packet_ptr p = slab.make();
    if (cut && cut < frame.size())
      p->append(copy_to_heap(m, reinterpret_cast<const std::byte*>(frame.data()), cut));
    else
      cut = 0;
    p->append(copy_to_heap(m, reinterpret_cast<const std::byte*>(frame.data()) + cut, uint32_t(frame.size()) - cut));
    return s.classify(*p);
  }
  static bytes frame(const bytes& datagram, uint16_t type = 0x0800) {
    return ethernet(mac_of(1), mac_of(2), type, datagram);
  }
  test_memory m;
  packet_slab slab{m};
  steering s = steering::make(4);
};

TEST_F(classify, flows_go_by_their_four_tuple) {
  const auto tuple = received(ip_of(2), 1234, ip_of(1), 80);
  for (uint32_t cut : {0, 1, 14, 20, 34, 36, 50}) {
    const auto t = of(frame(ip(ip_of(2), ip_of(1), 6, tcp_segment(ip_of(2), 1234, ip_of(1), 80, 1, 2, 16))), cut);
    EXPECT_EQ(t.kind, kind::flow);
    EXPECT_EQ(t.hash, s.toeplitz(tuple));
    EXPECT_EQ(t.shard, s.shard_of(t.hash));
    EXPECT_EQ(
        of(frame(ip(ip_of(2), ip_of(1), 17, udp(ip_of(2), 1234, ip_of(1), 80, {}), {.options = bytes(40, 1)})), cut)
            .hash,
        t.hash);
  }
}

TEST_F(classify, what_is_no_flow_goes_to_shard_zero) {
  const bytes segment = tcp_segment(ip_of(2), 1234, ip_of(1), 80, 1, 2, 16);
  for (const bytes& f :
       {frame(arp(1, mac_of(2), ip_of(2), {}, ip_of(1)), 0x0806), frame(ip(ip_of(2), ip_of(1), 1, echo(8, 1, 1, {}))),
        frame(ip(ip_of(2), ip_of(1), 6, segment, {.fragment = 0x2000})),
        frame(ip(ip_of(2), ip_of(1), 6, segment, {.fragment = 5})), frame(ip(ip_of(2), ip_of(1), 6, bytes(3))),
        frame(ip(ip_of(2), ip_of(1), 17, udp(ip_of(2), 67, ip_of(1), 68, {}))), frame(bytes(segment)), bytes(10),
        bytes(0)}) {
    const auto c = of(f);
    EXPECT_EQ(c.kind, kind::control);
    EXPECT_EQ(c.shard, 0u);
  }
}

// What a router says about a connection has to reach the shard that has it.
TEST_F(classify, an_icmp_error_goes_to_the_flow_that_it_quotes) {
  for (uint16_t port = 1000; port < 1020; ++port) {
    const auto expected = of(frame(ip(ip_of(2), ip_of(1), 6, tcp_segment(ip_of(2), port, ip_of(1), 80, 1, 2, 16))));
    const bytes quoted = ip(ip_of(1), ip_of(2), 6, tcp_segment(ip_of(1), 80, ip_of(2), port, 1, 2, 16));
    for (const bytes& q : {quoted, bytes(quoted.begin(), quoted.begin() + 28)}) {
      const auto c = of(frame(ip(ip_of(9), ip_of(1), 1, icmp(3, 4, 1400, q))));
      EXPECT_EQ(c.kind, kind::flow);
      EXPECT_EQ(c.shard, expected.shard);
      EXPECT_EQ(c.port, 80);
      EXPECT_EQ(c.protocol, 6);
    }
    EXPECT_EQ(of(frame(ip(ip_of(9), ip_of(1), 1, icmp(3, 4, 1400, bytes(quoted.begin(), quoted.begin() + 23))))).kind,
              kind::control);
    EXPECT_EQ(of(frame(ip(ip_of(9), ip_of(1), 1, icmp(8, 0, 0, quoted)))).kind, kind::control);
  }
}

TEST_F(classify, many_connections_are_dealt_out_evenly) {
  std::map<uint32_t, int> count;
  for (uint16_t port = 40000; port < 44000; ++port)
    ++count[s.shard_of(s.toeplitz(received(ip_of(2), port, ip_of(1), 11211)))];
  EXPECT_EQ(count.size(), 4u);
  for (auto [shard, n] : count)
    EXPECT_GT(n, 700) << shard;
}

}  // namespace
}  // namespace solaster::net

// The way out for TCP: the long way the first time, the prebuilt header afterwards, and what makes it stale.
#include "net/ip/ipv4.hh"

#include <gtest/gtest.h>

#include "tests/unit/net/support/stack_host.hh"

namespace solaster::net {
namespace {

using namespace testing;

constexpr uint8_t syn = 2, ack = 16;

// A connection to 10.0.0.2:80 or beyond the gateway, established.
struct with_connection : stack_host {
  explicit with_connection(ipv4_address to, uint8_t hop) : peer(to) {
    connection = *s->tcp().connect({}, {peer, 80}, nullptr, now);
    s->tcp().set_nodelay(connection, true);
    port = s->tcp().tuple(connection).local.port;
    EXPECT_EQ(sent(), lines{"arp request 10.0.0.1 asks 10.0.0." + std::to_string(hop) + " to ff:ff:ff:ff:ff:ff"});
    in(ethernet(mac_of(1), mac_of(hop), 0x0806, arp(2, mac_of(hop), ip_of(hop), mac_of(1), ip_of(1))));
    EXPECT_EQ(sent().size(), 1u);
    const bytes& f = frames[0];
    seq = uint32_t(f[38]) << 24 | uint32_t(f[39]) << 16 | uint32_t(f[40]) << 8 | f[41];
    in(ethernet(mac_of(1), mac_of(hop), 0x0800,
                ip(peer, ip_of(1), 6, tcp_segment(peer, 80, ip_of(1), port, 1000, seq + 1, syn | ack))));
    sent();
  }
  lines send(uint32_t n) {
    fragment f[1] = {make_heap_fragment(memory_, n)};
    EXPECT_TRUE(s->tcp().send(connection, f, now));
    return sent();
  }
  ipv4_address peer;
  tcp::connection* connection = nullptr;
  uint16_t port = 0;
  uint32_t seq = 0;
};

std::string data(const with_connection& h, const std::string& peer, uint32_t n, const std::string& mac) {
  return "tcp 10.0.0.1:" + std::to_string(h.port) + " > " + peer + ":80 PA len " + std::to_string(n) + " to " + mac;
}

TEST(ipv4, prebuilt_header_is_as_good_as_the_first) {
  with_connection h(ip_of(2), 2);
  for (uint32_t n : {1, 2, 77, 500}) {
    EXPECT_EQ(h.send(n), lines{data(h, "10.0.0.2", n, "52:54:00:00:00:02")});
    EXPECT_EQ(h.frames[0][22], 64);  // TTL
  }
  h.s->tcp().release(h.connection, h.now);
}

TEST(ipv4, prebuilt_header_follows_a_neighbour_that_moves) {
  with_connection h(ip_of(2), 2);
  EXPECT_EQ(h.send(5), lines{data(h, "10.0.0.2", 5, "52:54:00:00:00:02")});
  h.in(ethernet(mac_address::broadcast(), mac_of(9), 0x0806, arp(1, mac_of(9), ip_of(2), {}, ip_of(2))));
  EXPECT_EQ(h.send(6), lines{data(h, "10.0.0.2", 6, "52:54:00:00:00:09")});
  EXPECT_EQ(h.send(7), lines{data(h, "10.0.0.2", 7, "52:54:00:00:00:09")});
  h.s->tcp().release(h.connection, h.now);
}

TEST(ipv4, prebuilt_header_goes_by_the_gateway) {
  with_connection h(ipv4_address::of(192, 0, 2, 7), 254);
  EXPECT_EQ(h.send(5), lines{data(h, "192.0.2.7", 5, "52:54:00:00:00:fe")});
  EXPECT_EQ(h.send(6), lines{data(h, "192.0.2.7", 6, "52:54:00:00:00:fe")});
  h.s->tcp().release(h.connection, h.now);
}

TEST(ipv4, chosen_port_brings_the_answers_to_this_shard) {
  auto c = stack_host::default_config();
  c.shards = 4;
  c.shard = 2;
  stack_host h(c);
  for (int i = 0; i < 20; ++i) {
    tcp::connection* t = *h.s->tcp().connect({}, {ip_of(2), 80}, nullptr, h.now);
    const four_tuple tuple = h.s->tcp().tuple(t);
    EXPECT_GE(tuple.local.port, c.ephemeral_port_min);
    EXPECT_LE(tuple.local.port, c.ephemeral_port_max);
    EXPECT_EQ(h.shards.shard_of(h.shards.toeplitz(tuple)), 2u);
  }
}

TEST(ipv4, where_there_is_no_way_connect_says_so) {
  stack_host h;
  EXPECT_EQ(h.s->tcp().connect({}, {ip_of(255), 80}, nullptr, h.now).error(), errc::netunreach);
  EXPECT_EQ(h.s->tcp().connect({ip_of(3), 0}, {ip_of(2), 80}, nullptr, h.now).error(), errc::addrnotavail);
  h.s->set_address({.address = ip_of(1), .prefix_length = 24}, h.now);
  EXPECT_EQ(h.s->tcp().connect({}, {ipv4_address::of(192, 0, 2, 7), 80}, nullptr, h.now).error(), errc::netunreach);
}

}  // namespace
}  // namespace solaster::net

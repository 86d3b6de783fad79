// ARP as lines of (time, frame in, frame out).
#include "net/ip/neighbour.hh"

#include <gtest/gtest.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>

#include "tests/unit/net/support/stack_host.hh"

namespace solaster::net {
namespace {

using namespace testing;

static_assert(arp_size == sizeof(ether_arp) && ethernet_header_size == sizeof(ether_header));
static_assert(uint16_t(arp_operation::request) == ARPOP_REQUEST && uint16_t(arp_operation::reply) == ARPOP_REPLY);
static_assert(uint16_t(ethertype::ipv4) == ETHERTYPE_IP && uint16_t(ethertype::arp) == ETHERTYPE_ARP &&
              uint16_t(ethertype::ipv6) == ETHERTYPE_IPV6);

constexpr mac_address all = mac_address::broadcast();

bytes ask(uint8_t from, uint8_t to) {
  return ethernet(all, mac_of(from), 0x0806, arp(1, mac_of(from), ip_of(from), {}, ip_of(to)));
}
bytes answer(uint8_t from, uint8_t mac) {
  return ethernet(mac_of(1), mac_of(mac), 0x0806, arp(2, mac_of(mac), ip_of(from), mac_of(1), ip_of(1)));
}

struct with_socket : stack_host {
  explicit with_socket(const stack_config& c = default_config()) : stack_host(c) {
    socket = *s->udp_open({{}, 1000}, nullptr, now);
  }
  result<> send(uint8_t to) {
    datagram d{{}, {ip_of(to), 9}, slab.make()};
    d.payload->append(make_heap_fragment(memory_, 3));
    return s->udp_send(socket, std::move(d), now);
  }
  udp_socket* socket;
};

TEST(neighbour, request_for_us_is_answered_and_remembered) {
  with_socket h;
  h.in(ask(2, 1));
  EXPECT_EQ(h.sent(), lines{"arp reply 10.0.0.1 is 52:54:00:00:00:01 to 52:54:00:00:00:02"});
  ASSERT_TRUE(h.send(2));
  EXPECT_EQ(h.sent(), lines{"udp 10.0.0.1:1000 > 10.0.0.2:9 len 3 to 52:54:00:00:00:02"});
}

TEST(neighbour, request_for_others_is_ignored) {
  with_socket h;
  h.in(ask(2, 3));
  EXPECT_EQ(h.sent(), lines{});
  ASSERT_TRUE(h.send(2));
  EXPECT_EQ(h.sent(), lines{"arp request 10.0.0.1 asks 10.0.0.2 to ff:ff:ff:ff:ff:ff"});
}

TEST(neighbour, packets_wait_for_the_answer_and_leave_in_order) {
  with_socket h;
  ASSERT_TRUE(h.send(2));
  ASSERT_TRUE(h.send(2));
  EXPECT_EQ(h.sent(), lines{"arp request 10.0.0.1 asks 10.0.0.2 to ff:ff:ff:ff:ff:ff"});
  h.in(answer(2, 2));
  EXPECT_EQ(h.sent(), (lines{"udp 10.0.0.1:1000 > 10.0.0.2:9 len 3 to 52:54:00:00:00:02",
                             "udp 10.0.0.1:1000 > 10.0.0.2:9 len 3 to 52:54:00:00:00:02"}));
}

TEST(neighbour, is_asked_three_times_a_second_apart_then_given_up) {
  with_socket h;
  ASSERT_TRUE(h.send(2));
  const lines request{"arp request 10.0.0.1 asks 10.0.0.2 to ff:ff:ff:ff:ff:ff"};
  EXPECT_EQ(h.sent(), request);
  for (int i = 0; i < 2; ++i) {
    const duration d = h.jump(seconds(10));
    EXPECT_GE(d, seconds(1));
    EXPECT_LE(d, milliseconds(1135));
    EXPECT_EQ(h.sent(), request);
  }
  h.jump(seconds(10));
  EXPECT_EQ(h.sent(), lines{});
  EXPECT_EQ(h.drops(drop_reason::neighbour_unresolved), 1u);
  EXPECT_EQ(h.s->next_deadline(), instant::never());
  // The sender is told as if a router had said it.
  const auto error = h.s->udp_take_error(h.socket);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->remote, (endpoint{ip_of(2), 9}));
  EXPECT_EQ(error->error, errc::hostunreach);
}

// The SYN waits for an answer; where none comes the open has failed, as if a router had said it.
TEST(neighbour, an_open_to_who_does_not_answer_fails) {
  stack_host h;
  tcp::connection* c = *h.s->tcp().connect({}, {ip_of(2), 80}, nullptr, h.now);
  tcp::connection* beyond = *h.s->tcp().connect({}, {ipv4_address::of(192, 0, 2, 7), 80}, nullptr, h.now);
  const instant start = h.now;
  size_t failed = 0;
  while (failed < 2 && h.now < start + seconds(20)) {
    h.sent();
    h.jump(seconds(1));
    for (const event& e : h.events())
      failed += e.kind == event_kind::connection && (e.bits & connection_failed);
  }
  EXPECT_EQ(failed, 2u);
  EXPECT_LE(h.now, start + seconds(4));
  for (tcp::connection* x : {c, beyond}) {
    EXPECT_EQ(h.s->tcp().error(x), errc::hostunreach);
    h.s->tcp().release(x, h.now);
  }
}

// Strangers who fill the cache do not make an open fail: what waited is lost, and comes again.
TEST(neighbour, an_entry_that_has_to_go_is_no_failure) {
  auto config = stack_host::default_config();
  config.neighbours_max = 1;
  stack_host h(config);
  tcp::connection* c = *h.s->tcp().connect({}, {ip_of(2), 80}, nullptr, h.now);
  h.sent();
  h.in(ask(3, 1));
  EXPECT_EQ(h.drops(drop_reason::neighbour_queue), 1u);
  EXPECT_TRUE(h.events().empty());
  h.sent();
  h.jump(seconds(2));  // the SYN again
  EXPECT_EQ(h.sent(), lines{"arp request 10.0.0.1 asks 10.0.0.2 to ff:ff:ff:ff:ff:ff"});
  h.s->tcp().release(c, h.now);
}

TEST(neighbour, queue_keeps_the_newest) {
  auto c = stack_host::default_config();
  c.neighbour_queue_max = 3;
  with_socket h(c);
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(h.send(2));
  h.sent();
  EXPECT_EQ(h.drops(drop_reason::neighbour_queue), 2u);
  h.in(answer(2, 2));
  EXPECT_EQ(h.sent().size(), 3u);
}

TEST(neighbour, used_entry_is_asked_again_by_unicast_unused_one_forgotten) {
  with_socket h;
  h.in(ask(2, 1));
  h.in(ask(3, 1));
  h.sent();
  ASSERT_TRUE(h.send(2));
  h.sent();
  h.advance(seconds(61));
  EXPECT_EQ(h.sent(), lines{"arp request 10.0.0.1 asks 10.0.0.2 to 52:54:00:00:00:02"});
  ASSERT_TRUE(h.send(2));  // still used meanwhile
  EXPECT_EQ(h.sent(), lines{"udp 10.0.0.1:1000 > 10.0.0.2:9 len 3 to 52:54:00:00:00:02"});
  h.in(answer(2, 2));
  h.sent();
  for (int i = 0; i < 12; ++i)
    h.advance(seconds(60));
  h.sent();
  EXPECT_EQ(h.s->next_deadline(), instant::never());  // both forgotten
}

TEST(neighbour, announcement_updates_what_is_known_and_makes_nothing_new) {
  with_socket h;
  h.in(ask(2, 1));
  h.sent();
  h.in(ethernet(all, mac_of(9), 0x0806, arp(1, mac_of(9), ip_of(2), {}, ip_of(2))));
  h.in(ethernet(all, mac_of(9), 0x0806, arp(2, mac_of(9), ip_of(4), {}, ip_of(4))));
  h.in(answer(5, 9));  // nobody asked
  ASSERT_TRUE(h.send(2));
  ASSERT_TRUE(h.send(4));
  ASSERT_TRUE(h.send(5));
  EXPECT_EQ(h.sent(), (lines{"udp 10.0.0.1:1000 > 10.0.0.2:9 len 3 to 52:54:00:00:00:09",
                             "arp request 10.0.0.1 asks 10.0.0.4 to ff:ff:ff:ff:ff:ff",
                             "arp request 10.0.0.1 asks 10.0.0.5 to ff:ff:ff:ff:ff:ff"}));
}

TEST(neighbour, nonsense_is_dropped) {
  with_socket h;
  bytes f = ask(2, 1);
  h.in(bytes(f.begin(), f.end() - 1));                                                // short
  h.in(ethernet(all, mac_of(2), 0x0806, arp(3, mac_of(2), ip_of(2), {}, ip_of(1))));  // operation
  h.in(ethernet(all, mac_of(2), 0x0806, arp(1, all, ip_of(2), {}, ip_of(1))));        // a group as sender
  EXPECT_EQ(h.drops(drop_reason::arp_malformed), 3u);
  h.in(ethernet(all, mac_of(2), 0x0806, arp(1, mac_of(2), ip_of(1), {}, ip_of(1))));  // our address in another's hands
  h.in(ethernet(all, mac_of(2), 0x0806, arp(1, mac_of(2), {}, {}, ip_of(1))));  // a probe: answered, not remembered
  EXPECT_EQ(h.sent(), (lines{"arp reply 10.0.0.1 is 52:54:00:00:00:01 to 52:54:00:00:00:02",
                             "arp reply 10.0.0.1 is 52:54:00:00:00:01 to 52:54:00:00:00:02"}));
}

TEST(neighbour, cache_is_bounded) {
  auto c = stack_host::default_config();
  c.neighbours_max = 4;
  with_socket h(c);
  for (uint8_t i = 2; i < 100; ++i)
    h.in(ask(i, 1));
  h.sent();
  ASSERT_TRUE(h.send(99));
  EXPECT_EQ(h.sent(), lines{"udp 10.0.0.1:1000 > 10.0.0.99:9 len 3 to 52:54:00:00:00:63"});
}

TEST(neighbour, beyond_the_link_goes_to_the_gateway) {
  with_socket h;
  datagram d{{}, {ipv4_address::of(192, 0, 2, 7), 9}, nullptr};
  ASSERT_TRUE(h.s->udp_send(h.socket, std::move(d), h.now));
  EXPECT_EQ(h.sent(), lines{"arp request 10.0.0.1 asks 10.0.0.254 to ff:ff:ff:ff:ff:ff"});
}

TEST(neighbour, the_gateway_is_asked_for_once_before_it_is_needed) {
  with_socket h;
  h.s->resolve_gateway(h.now);
  EXPECT_EQ(h.sent(), lines{"arp request 10.0.0.1 asks 10.0.0.254 to ff:ff:ff:ff:ff:ff"});
  h.s->resolve_gateway(h.now);
  EXPECT_EQ(h.sent(), lines{});
  h.in(answer(254, 254));
  datagram d{{}, {ipv4_address::of(192, 0, 2, 7), 9}, nullptr};
  ASSERT_TRUE(h.s->udp_send(h.socket, std::move(d), h.now));
  EXPECT_EQ(h.sent(), lines{"udp 10.0.0.1:1000 > 192.0.2.7:9 len 0 to 52:54:00:00:00:fe"});
}

// Shard 0, which hears ARP, and another one, which hears of it.
struct two_shards {
  static stack_config config(uint32_t shard) {
    auto c = stack_host::default_config();
    c.shards = 2;
    c.shard = shard;
    return c;
  }
  void in(const bytes& frame) {
    first.in(frame);
    for (const event& e : first.events()) {
      EXPECT_EQ(e.kind, event_kind::neighbour_learned);
      other.s->learn_neighbour(e.address, e.mac, other.now, e.bits);
    }
    EXPECT_TRUE(other.s->is_valid());
  }
  with_socket first{config(0)}, other{config(1)};
};

TEST(neighbour, shard_zero_tells_the_others) {
  two_shards h;
  ASSERT_TRUE(h.other.send(5));
  EXPECT_EQ(h.other.sent(), lines{"arp request 10.0.0.1 asks 10.0.0.5 to ff:ff:ff:ff:ff:ff"});
  h.in(ask(2, 1));
  h.in(answer(5, 5));
  ASSERT_TRUE(h.other.send(2));
  EXPECT_EQ(h.other.sent(), (lines{"udp 10.0.0.1:1000 > 10.0.0.5:9 len 3 to 52:54:00:00:00:05",
                                   "udp 10.0.0.1:1000 > 10.0.0.2:9 len 3 to 52:54:00:00:00:02"}));
}

// Shards begin one after the other: the first knows the gateway before the next has an address to ask with.
TEST(neighbour, an_answer_to_another_shard_reaches_it_though_it_is_no_news_to_shard_zero) {
  two_shards h;
  h.first.s->resolve_gateway(h.first.now);
  h.first.in(answer(254, 254));
  h.first.events();  // nobody is there to hear it
  h.other.s->resolve_gateway(h.other.now);
  h.other.sent();
  h.in(answer(254, 254));
  ASSERT_TRUE(h.other.send(254));
  EXPECT_EQ(h.other.sent(), lines{"udp 10.0.0.1:1000 > 10.0.0.254:9 len 3 to 52:54:00:00:00:fe"});
}

TEST(neighbour, an_answer_keeps_another_shards_entry_alive) {
  two_shards h;
  h.in(ask(2, 1));
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(h.other.send(2));
    EXPECT_EQ(h.other.sent(), lines{"udp 10.0.0.1:1000 > 10.0.0.2:9 len 3 to 52:54:00:00:00:02"});
    h.other.advance(seconds(61));
    EXPECT_EQ(h.other.sent(), lines{"arp request 10.0.0.1 asks 10.0.0.2 to 52:54:00:00:00:02"});
    h.in(answer(2, 2));
  }
}

TEST(neighbour, an_announcement_reaches_what_only_another_shard_knows) {
  two_shards h;
  ASSERT_TRUE(h.other.send(5));
  h.in(answer(5, 5));
  h.other.sent();
  h.in(ethernet(all, mac_of(9), 0x0806, arp(1, mac_of(9), ip_of(5), {}, ip_of(5))));
  h.in(ethernet(all, mac_of(9), 0x0806, arp(1, mac_of(9), ip_of(6), {}, ip_of(6))));
  ASSERT_TRUE(h.other.send(5));
  ASSERT_TRUE(h.other.send(6));
  EXPECT_EQ(h.other.sent(), (lines{"udp 10.0.0.1:1000 > 10.0.0.5:9 len 3 to 52:54:00:00:00:09",
                                   "arp request 10.0.0.1 asks 10.0.0.6 to ff:ff:ff:ff:ff:ff"}));
}

TEST(neighbour, what_is_between_strangers_is_not_told) {
  two_shards h;
  h.first.in(ask(2, 3));
  EXPECT_TRUE(h.first.events().empty());
}

// A stranger's request makes an entry everywhere, whatever else is told of it in the same turn.
TEST(neighbour, what_is_new_stays_new_when_it_is_confirmed_at_once) {
  two_shards h;
  h.first.in(ask(2, 1));
  h.in(answer(2, 2));
  ASSERT_TRUE(h.other.send(2));
  EXPECT_EQ(h.other.sent(), lines{"udp 10.0.0.1:1000 > 10.0.0.2:9 len 3 to 52:54:00:00:00:02"});
}

}  // namespace
}  // namespace solaster::net

// Memory and tables: what they are charged, what happens when they are full, and that nobody can take them from others.
#include <gtest/gtest.h>

#include "net/tcp/connection.hh"
#include "tests/drill/script.hh"

namespace solaster::drill {
namespace {

using namespace net;
using tcp::state;

void open_from(script& s, uint16_t port) {
  s.peer_port = port;
  ASSERT_NE(s.in("S 0"), "");
  ASSERT_EQ(s.in("A 1 ack 1"), "[accept]");
  ASSERT_NE(s.accept(), nullptr);
}

std::string segment(uint32_t at, uint32_t bytes) {
  return "A " + std::to_string(at) + " ack 1 +" + std::to_string(bytes);
}

// Connections that never read fill what they can; one more gets all that it is sent.
void starve(script& s, uint32_t hogs) {
  s.listen(1000);
  for (uint32_t i = 0; i < hogs; ++i) {
    open_from(s, uint16_t(6000 + i));
    for (uint32_t at = 1; at <= 10'000; at += 1000) {
      s.in(segment(at, 1000));
    }
  }
  open_from(s, 5000);
  uint32_t at = 1;
  for (; at < 21'401; at += 1070) {
    s.in(segment(at, 1070));
    if (s.read() != "1070 bytes" && s.c->rcv_nxt != tcp::seq(s.peer_iss + at + 1070)) {
      break;
    }
  }
  EXPECT_EQ(at, 21'401u) << hogs << " connections that do not read";
}

TEST(starvation, those_that_never_read_leave_enough_for_one_that_does) {
  for (const uint32_t hogs : {5u, 10u, 11u, 65u, 300u}) {
    script_config config;
    config.stack.tcp.receive_memory_max = 100'000;
    script s(config);
    starve(s, hogs);
  }
}

// No one connection takes more than what is left for all others together.
TEST(starvation, a_single_one_takes_half) {
  script_config config;
  config.stack.tcp.receive_memory_max = 100'000;
  config.stack.tcp.receive_buffer_bytes = 1 << 20;
  script s(config);
  s.peer_scale = 0;
  s.listen();
  open_from(s, 5000);
  for (uint32_t at = 1; at < 200'000; at += 1000) {
    s.in(segment(at, 1000));
  }
  EXPECT_GT(s.c->receive_held(), 45'000u);
  EXPECT_LE(s.c->receive_held(), 51'100u);
}

// 256 bytes out of order, a byte each: what they take is what they are charged.
TEST(charge, of_segments_out_of_order_is_what_they_take) {
  script_config config;
  config.stack.tcp.receive_buffer_bytes = 1 << 20;
  script s(config);
  s.peer_scale = 0;
  s.listen();
  open_from(s, 5000);
  s.in("A 3 ack 1 +1");
  s.poll();
  const size_t before = s.home().in_use();
  const uint32_t charged = s.c->out_of_order.charge();
  for (uint32_t i = 1; i < 200; ++i) {
    s.in(segment(3 + 2 * i, 1));
  }
  EXPECT_EQ(s.c->out_of_order.size(), 200u);
  EXPECT_GE(s.c->out_of_order.charge() - charged, (s.home().in_use() - before) * 9 / 10);
}

TEST(charge, sent_bytes_and_their_fragments_are_given_back) {
  script_config config;
  config.stack.tcp.send_memory_max = 10'000;
  config.stack.tcp.send_guaranteed_bytes = 500;
  script s(config);
  s.listen();
  open_from(s, 5000);
  EXPECT_EQ(s.tcp().send_room(s.c), 10'000u);
  s.tcp().set_nodelay(s.c, true);
  s.send(1000);
  s.send(1000);
  EXPECT_EQ(s.tcp().send_room(s.c), 10'000u - 2 * 2160);  // what is left, and what it has counts
  s.in("A 1 ack 1501");
  EXPECT_EQ(s.tcp().send_room(s.c), 10'000u - 2 * 580);
  s.in("A 1 ack 2001");
  EXPECT_EQ(s.tcp().send_room(s.c), 10'000u);
  s.send(1000);
  s.in("R 1");
  open_from(s, 5001);
  EXPECT_EQ(s.tcp().send_room(s.c), 10'000u);
}

TEST(starvation, those_that_never_acknowledge_leave_some_memory_to_send_from) {
  script_config config;
  config.stack.tcp.send_memory_max = 10'000;
  config.stack.tcp.send_guaranteed_bytes = 500;
  script s(config);
  s.listen(100);
  for (uint16_t i = 0; i < 60; ++i) {
    open_from(s, uint16_t(6000 + i));
    s.send(20'000);
  }
  open_from(s, 5000);
  EXPECT_EQ(s.tcp().send_room(s.c), 500u);
  EXPECT_EQ(s.send(600), "took 500; PA 1 +500 ack 1");
  EXPECT_EQ(s.send(100), "error 11");
  EXPECT_EQ(s.in("A 1 ack 501"), "[writable]");
  EXPECT_EQ(s.send(100), "PA 501 +100 ack 1");
}

TEST(limits, connections_max_refuses_both_ways) {
  script_config config;
  config.stack.tcp.connections_max = 1;
  script s(config);
  s.listen();
  open_from(s, 5000);
  EXPECT_EQ(s.tcp().connect({{}, 81}, {ipv4_address::of(10, 0, 0, 2), 1}, nullptr, s.now).error(), errc::nobufs);
  s.peer_port = 5001;
  EXPECT_NE(s.in("S 0"), "");
  EXPECT_EQ(s.in("A 1 ack 1"), "");
  EXPECT_EQ(s.stats().drops[size_t(drop_reason::tcp_memory)], 1u);
  // As soon as there is room, what the peer says next opens it.
  s.peer_port = 5000;
  s.in("R 1");
  s.release();
  s.peer_port = 5001;
  EXPECT_EQ(s.in("A 1 ack 1"), "[accept]");
}

TEST(limits, the_oldest_time_wait_goes_first) {
  script_config config;
  config.stack.tcp.time_wait_max = 2;
  script s(config);
  s.listen();
  for (const uint16_t port : {5000, 5001, 5002}) {
    open_from(s, port);
    s.close();
    s.in("A 1 ack 2");
    s.in("FA 1 ack 2");
    s.release();
  }
  const auto late_fin = [&](uint16_t port) {
    s.peer_port = port;
    return s.in("FA 1 ack 2").substr(0, 1);
  };
  EXPECT_EQ(late_fin(5000), "R");
  EXPECT_EQ(late_fin(5001), "A");
  EXPECT_EQ(late_fin(5002), "A");
}

TEST(limits, without_time_wait_a_late_fin_is_reset) {
  script_config config;
  config.stack.tcp.time_wait_max = 0;
  script s(config);
  s.listen();
  open_from(s, 5000);
  s.close();
  s.in("A 1 ack 2");
  s.in("FA 1 ack 2");
  EXPECT_EQ(s.in("FA 1 ack 2"), "R 2");
}

// Thousands come and go: what they took is the memory's again.
TEST(limits, slabs_are_given_back) {
  script_config config;
  config.stack.tcp.time_wait_max = 0;
  script s(config);
  s.listen(2000);
  const auto visit = [&](uint16_t n) {
    for (uint16_t i = 0; i < n; ++i) {
      s.peer_port = uint16_t(6000 + i);
      s.in("S 0");
      s.in("A 1 ack 1");
    }
    for (uint16_t i = 0; i < n; ++i) {
      s.peer_port = uint16_t(6000 + i);
      s.in("R 1");
    }
  };
  visit(10);
  const size_t before = s.home().in_use();
  visit(1500);
  EXPECT_LT(s.home().in_use(), before + 200'000);
}

// ---- a header that ends where its fragment ends

TEST(fragments, a_header_may_end_where_its_fragment_ends) {
  script s;
  s.listen();
  s.peer_mss = 700;
  EXPECT_EQ(s.in("S 0 +100", 24), "SA 0 ack 1");  // 24: the header, and MSS
  s.in("A 1 ack 1");
  ASSERT_NE(s.accept(), nullptr);
  EXPECT_EQ(s.tcp().stats(s.c).mss, 700u);
  EXPECT_EQ(s.in("A 1 ack 1 +100", 20), "[readable]");
  EXPECT_EQ(s.read(), "100 bytes");
  // An open of our own, and one of both.
  for (const char* answer : {"SA 0 ack 1 +10", "S 0 +10"}) {
    script t;
    t.connect();
    t.peer_mss = 700;
    t.in(answer, 24);
    EXPECT_EQ(t.tcp().stats(t.c).mss, 700u);
  }
}

}  // namespace
}  // namespace solaster::drill

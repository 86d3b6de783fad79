// What a sockets layer asks of TCP beyond sending and receiving: names, options, errors, ends.
#include <gtest/gtest.h>

#include <array>

#include "net/tcp/connection.hh"
#include "tests/drill/script.hh"

namespace solaster::drill {
namespace {

using namespace net;
using tcp::state;

void reach_established(script& s) {
  s.listen();
  ASSERT_EQ(s.in("S 0").substr(0, 2), "SA");
  ASSERT_EQ(s.in("A 1 ack 1"), "[accept]");
  ASSERT_NE(s.accept(), nullptr);
}

// ---- names

TEST(names, a_reserved_port_is_kept_from_everybody_else) {
  script s;
  tcp::layer& t = s.tcp();
  tcp::reservation* r = *t.reserve({{}, 7000}, false, s.now);
  EXPECT_EQ(t.local(r), (endpoint{{}, 7000}));
  EXPECT_EQ(t.reserve({{}, 7000}, true, s.now).error(), errc::addrinuse);
  EXPECT_EQ(t.reserve({ipv4_address::of(10, 0, 0, 1), 7000}, false, s.now).error(), errc::addrinuse);
  EXPECT_EQ(t.listen({{}, 7000}, 1, nullptr, s.now).error(), errc::addrinuse);
  EXPECT_EQ(t.connect({{}, 7000}, {ipv4_address::of(10, 0, 0, 2), 1}, nullptr, s.now).error(), errc::addrinuse);
  tcp::listener* l = *t.listen_at(r, 1, nullptr, s.now);
  EXPECT_EQ(t.local(l).port, 7000);
  t.release(l, s.now);
  t.release(r);
  t.release(*t.listen({{}, 7000}, 1, nullptr, s.now), s.now);
}

TEST(names, a_reserved_port_is_a_connections_name) {
  script s;
  tcp::reservation* r = *s.tcp().reserve({{}, 80}, false, s.now);
  s.c = *s.tcp().connect_from(r, {ipv4_address::of(10, 0, 0, 2), 5000}, nullptr, s.now);
  EXPECT_EQ(s.poll(), "S 0");
  EXPECT_EQ(s.tcp().tuple(s.c).local.port, 80);
  // The same four-tuple once only.
  EXPECT_EQ(s.tcp().connect_from(r, {ipv4_address::of(10, 0, 0, 2), 5000}, nullptr, s.now).error(), errc::addrinuse);
  s.release();
  s.tcp().release(r);
}

TEST(names, those_that_share_may_not_share_with_a_listener) {
  script s;
  tcp::layer& t = s.tcp();
  tcp::reservation* a = *t.reserve({{}, 7000}, true, s.now);
  tcp::reservation* b = *t.reserve({{}, 7000}, true, s.now);
  tcp::listener* l = *t.listen_at(a, 1, nullptr, s.now);
  EXPECT_EQ(t.listen_at(b, 1, nullptr, s.now).error(), errc::addrinuse);
  EXPECT_EQ(t.reserve({{}, 7000}, true, s.now).error(), errc::addrinuse);
  t.release(l, s.now);
  t.release(a);
  t.release(b);
}

TEST(names, reuse_is_needed_where_connections_are_left) {
  script s;
  reach_established(s);
  s.close();
  s.in("A 1 ack 2");
  s.in("FA 1 ack 2");  // TIME-WAIT
  s.release();
  s.tcp().release(s.l, s.now);
  EXPECT_EQ(s.tcp().reserve({{}, 80}, false, s.now).error(), errc::addrinuse);
  const auto r = s.tcp().reserve({{}, 80}, true, s.now);
  ASSERT_TRUE(r);
  s.tcp().release(*r);
  s.after(seconds(61));
  const auto later = s.tcp().reserve({{}, 80}, false, s.now);
  ASSERT_TRUE(later);
  s.tcp().release(*later);
}

TEST(names, chosen_ports_are_free_and_differ) {
  script_config config;
  config.stack.ephemeral_port_min = 40000;
  config.stack.ephemeral_port_max = 40003;
  script s(config);
  std::array<tcp::reservation*, 4> all;
  uint32_t seen = 0;
  for (auto& r : all) {
    r = *s.tcp().reserve({}, false, s.now);
    seen |= 1u << (s.tcp().local(r).port - 40000);
  }
  EXPECT_EQ(seen, 15u);
  EXPECT_EQ(s.tcp().reserve({}, false, s.now).error(), errc::addrinuse);
  EXPECT_EQ(s.tcp().listen({}, 1, nullptr, s.now).error(), errc::addrinuse);
  for (auto* r : all) {
    s.tcp().release(r);
  }
}

// bind() promises that nobody else gets the port, not even by chance.
TEST(names, opens_are_not_given_a_port_that_is_reserved_or_listened_on) {
  script s;
  const endpoint there{ipv4_address::of(10, 0, 0, 2), 1};
  tcp::reservation* r = *s.tcp().reserve({{}, 80}, true, s.now);
  tcp::listener* l = *s.tcp().listen({{}, 81}, 1, nullptr, s.now);
  tcp::connection* c = *s.tcp().connect({}, there, nullptr, s.now);
  EXPECT_EQ(s.tcp().tuple(c).local.port, 82);
  s.tcp().release(c, s.now);
  s.tcp().release(l, s.now);
  s.tcp().release(r);
}

// What waits in the peer's window is not cut off by a smaller buffer, nor is more promised than the handshake can say.
TEST(options, a_buffer_grows_as_far_as_the_window_scale) {
  script s;
  reach_established(s);
  tcp::connection_options o = s.tcp().options(s.c);
  o.receive_buffer_bytes = 1 << 20;
  s.tcp().set_options(s.c, o, s.now);
  EXPECT_EQ(s.c->receive_limit, 65535u);
}

TEST(names, a_backlog_can_be_changed) {
  script s;
  s.listen(1);
  const auto knock = [&](uint16_t port) {
    s.peer_port = port;
    return s.in("S 0").empty() ? "silence" : s.in("A 1 ack 1");
  };
  EXPECT_EQ(knock(5000), "[accept]");
  EXPECT_EQ(knock(5001), "silence");
  s.tcp().set_backlog(s.l, 2);
  EXPECT_EQ(knock(5001), "[accept]");
  EXPECT_EQ(knock(5002), "silence");
}

// ---- options

TEST(options, a_listeners_are_its_connections) {
  script s;
  s.listen();
  tcp::connection_options o;
  o.nodelay = true;
  o.keepalive = true;
  o.keepalive_idle = seconds(10);
  o.linger = duration{};
  o.receive_buffer_bytes = 5000;
  o.send_buffer_bytes = 100;
  s.tcp().set_options(s.l, o);
  EXPECT_EQ(s.in("S 0"), "SA 0 ack 1");
  s.in("A 1 ack 1");
  s.accept();
  EXPECT_EQ(s.tcp().stats(s.c).rcv_wnd, 5000u);
  EXPECT_EQ(s.send(10), "PA 1 +10 ack 1");
  EXPECT_EQ(s.send(20), "took 10; PA 11 +10 ack 1") << "no Nagle, and a buffer of 100";
  s.in("A 1 ack 21");
  EXPECT_EQ(s.after(seconds(10)), "A 20 ack 1");
  s.in("A 1 ack 21");
  EXPECT_EQ(s.release(), "RA 21 ack 1");
}

// The handshake's window scale is what the listener said then, not what it says later.
TEST(options, the_window_scale_is_the_handshakes) {
  script s;
  s.peer_scale = 0;
  s.listen();
  tcp::connection_options o;
  o.receive_buffer_bytes = 1 << 20;
  s.tcp().set_options(s.l, o);
  EXPECT_EQ(s.in("S 0"), "SA 0 ack 1");
  o.receive_buffer_bytes = 5000;
  s.tcp().set_options(s.l, o);
  s.in("A 1 ack 1");
  s.accept();
  EXPECT_EQ(s.tcp().stats(s.c).rcv_scale, 5);
}

TEST(options, what_is_set_before_the_syn_is_in_it) {
  script s;
  s.c = *s.tcp().connect({{}, 80}, {ipv4_address::of(10, 0, 0, 2), 5000}, nullptr, s.now);
  tcp::connection_options o = s.tcp().options(s.c);
  o.receive_buffer_bytes = 1 << 20;
  s.tcp().set_options(s.c, o, s.now);
  EXPECT_EQ(s.poll(), "S 0");
  s.peer_scale = 0;
  s.in("SA 0 ack 1");
  EXPECT_EQ(s.tcp().stats(s.c).rcv_scale, 5);
}

// ---- state and errors

TEST(errors, a_failure_is_taken_once_and_told_always) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.tcp().take_error(s.c), std::nullopt);
  s.in("R 1");
  EXPECT_EQ(s.tcp().take_error(s.c), errc::connreset);
  EXPECT_EQ(s.tcp().take_error(s.c), std::nullopt);
  EXPECT_EQ(s.tcp().error(s.c), errc::connreset);
}

// RFC 1122 4.2.3.9: a soft error is kept for who asks, and for the case that nothing better comes.
TEST(errors, soft_ones_are_kept_until_the_peer_answers) {
  script s;
  reach_established(s);
  s.send(10);
  s.icmp(1, errc::netunreach, false);
  EXPECT_EQ(s.state(), state::established);
  EXPECT_EQ(s.tcp().take_error(s.c), errc::netunreach);
  EXPECT_EQ(s.tcp().take_error(s.c), std::nullopt);
  s.icmp(1, errc::netunreach, false);
  s.in("A 1 ack 11");
  EXPECT_EQ(s.tcp().take_error(s.c), std::nullopt);
}

TEST(errors, a_soft_one_is_why_an_open_timed_out) {
  script_config config;
  config.stack.tcp.syn_retries_max = 1;
  script s(config);
  s.connect();
  s.icmp(0, errc::netunreach, false);
  EXPECT_EQ(s.after(seconds(4)), "S 0 [failed]");
  EXPECT_EQ(s.tcp().take_error(s.c), errc::netunreach);
}

// RFC 5461: only an open that has not succeeded is given up for a hard one.
TEST(errors, a_hard_one_ends_an_open_and_nothing_else) {
  script s;
  s.connect();
  s.icmp(0, errc::connrefused, true);
  EXPECT_EQ(s.poll(), "[failed]");
  EXPECT_EQ(s.tcp().take_error(s.c), errc::connrefused);
  script t;
  reach_established(t);
  t.send(10);
  t.icmp(1, errc::connrefused, true);
  EXPECT_EQ(t.state(), state::established);
}

// RFC 5927: an error that quotes nothing in flight is a forgery.
TEST(errors, one_that_quotes_nothing_in_flight_is_not_believed) {
  script s;
  s.connect();
  s.icmp(1, errc::connrefused, true);
  s.icmp(uint32_t(-1), errc::connrefused, true);
  EXPECT_EQ(s.state(), state::syn_sent);
}

TEST(errors, no_neighbour_ends_opens_and_is_a_soft_error_elsewhere) {
  script s;
  reach_established(s);
  s.tcp().route_failed(ipv4_address::of(10, 0, 0, 9), errc::hostunreach, s.now);
  EXPECT_EQ(s.tcp().take_error(s.c), std::nullopt);
  s.tcp().route_failed(ipv4_address::of(10, 0, 0, 2), errc::hostunreach, s.now);
  EXPECT_EQ(s.state(), state::established);
  EXPECT_EQ(s.tcp().take_error(s.c), errc::hostunreach);
  script t;
  t.connect();
  t.tcp().route_failed(ipv4_address::of(10, 0, 0, 2), errc::hostunreach, t.now);
  EXPECT_EQ(t.poll(), "[failed]");
  EXPECT_EQ(t.tcp().take_error(t.c), errc::hostunreach);
}

TEST(errors, an_address_that_went_takes_its_connections_along) {
  script s;
  reach_established(s);
  s.peer_port = 5001;
  s.in("S 0");
  s.tcp().address_gone(ipv4_address::of(10, 0, 0, 7), s.now);
  EXPECT_EQ(s.poll(), "");
  s.tcp().address_gone(ipv4_address::of(10, 0, 0, 1), s.now);
  EXPECT_EQ(s.poll(), "[failed]");
  EXPECT_EQ(s.tcp().take_error(s.c), errc::connaborted);
  EXPECT_EQ(s.in("A 1 ack 1"), "R 1 @5001");  // the half-open one is gone too
  EXPECT_EQ(s.tcp().next_deadline(), instant::never());
}

TEST(errors, an_address_that_went_ends_time_wait) {
  script s;
  reach_established(s);
  s.close();
  s.in("A 1 ack 2");
  s.in("FA 1 ack 2");
  s.tcp().address_gone(ipv4_address::of(10, 0, 0, 1), s.now);
  EXPECT_EQ(s.tcp().next_deadline(), instant::never());
}

TEST(state, a_snapshot_tells_what_tcp_info_tells) {
  script s;
  reach_established(s);
  s.send(2000);
  s.in("A 1 ack 1 win 2000 +7");
  const tcp::connection_stats i = s.tcp().stats(s.c);
  EXPECT_EQ(i.st, state::established);
  EXPECT_EQ(i.mss, 1460u);
  EXPECT_EQ(i.path_mtu, 1500u);
  EXPECT_EQ(i.snd_wnd, 2000u);
  EXPECT_EQ(i.rcv_wnd, 9993u);
  EXPECT_EQ(i.unacknowledged, 2000u);
  EXPECT_EQ(i.unsent, 0u);
  EXPECT_EQ(i.readable, 7u);
  EXPECT_EQ(i.retries, 0);
  s.after(milliseconds(200));
  EXPECT_EQ(s.tcp().stats(s.c).retries, 1);
  s.in("FA 8 ack 1");
  EXPECT_EQ(s.tcp().stats(s.c).st, state::close_wait);
}

// ---- reading

TEST(reading, peek_takes_nothing) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 +1000");
  s.in("A 1001 ack 1 +1000");
  std::array<fragment, 4> f;
  EXPECT_EQ(*s.tcp().peek(s.c, f, 1500), 2u);
  EXPECT_EQ(f[0].size(), 1000u);
  EXPECT_EQ(f[1].size(), 500u);
  EXPECT_EQ(f[0].data()[999], std::byte(s.peer_iss + 1 + 999));
  for (auto& one : f) {
    one.reset();
  }
  EXPECT_EQ(s.tcp().readable_bytes(s.c), 2000u);
  EXPECT_EQ(s.read().substr(0, 10), "2000 bytes");
  EXPECT_EQ(*s.tcp().peek(s.c, f, 1500), 0u);
}

TEST(reading, a_half_close_may_keep_what_is_there) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 +100");
  s.tcp().close_receive(s.c, s.now, tcp::unread::keep);
  EXPECT_FALSE(s.tcp().at_eof(s.c));
  s.in("A 101 ack 1 +100");  // too late
  EXPECT_EQ(s.read(), "100 bytes");
  EXPECT_EQ(s.read(), "eof");
}

// The peer waits for a window that nobody but us knows to be open again.
TEST(reading, a_window_reopened_by_closing_is_announced) {
  script s;
  reach_established(s);
  for (int i = 0; i < 6; ++i) {
    s.in("A " + std::to_string(1 + i * 1460) + " ack 1 +1460");
  }
  EXPECT_EQ(s.in("A 8761 ack 1 +1460"), "A 1 ack 10001 win 0 [readable]");
  s.tcp().close_receive(s.c, s.now);
  EXPECT_EQ(s.poll(), "A 1 ack 10001 win 10000");
}

// ---- ends

// RFC 1122 4.2.2.13, RFC 2525 2.17: a FIN would say that all was read.
TEST(ends, unread_data_makes_release_a_reset) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 +100");
  EXPECT_EQ(s.release(), "RA 1 ack 101");
  EXPECT_EQ(s.tcp().connection_count(), 0u);
}

TEST(ends, so_does_data_that_was_thrown_away) {
  for (const bool before : {true, false}) {
    script s;
    reach_established(s);
    if (before) {
      s.in("A 1 ack 1 +100");
    }
    s.tcp().close_receive(s.c, s.now);
    if (!before) {
      s.in("A 1 ack 1 +100");
    }
    EXPECT_EQ(s.release(), "RA 1 ack 101");
  }
}

TEST(ends, what_was_read_makes_no_reset) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 +100");
  s.read();
  s.tcp().close_receive(s.c, s.now);
  EXPECT_EQ(s.release(), "FA 1 ack 101 win 9900");
}

TEST(ends, sent_waits_for_the_end_too) {
  script s;
  reach_established(s);
  s.send(10);
  s.close();
  s.tcp().watch_sent(s.c);
  EXPECT_EQ(s.in("A 1 ack 11"), "");
  EXPECT_EQ(s.in("A 1 ack 12"), "[sent]");
}

}  // namespace
}  // namespace solaster::drill

// Timers, windows and recovery, segment by segment.
#include <gtest/gtest.h>

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

// RFC 6298 5: the clock of a connection that measured a short round trip.
TEST(retransmission, rto_doubles_after_each_timeout) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.send(10), "PA 1 +10 ack 1");
  EXPECT_EQ(s.after(milliseconds(199)), "");
  EXPECT_EQ(s.after(milliseconds(1)), "PA 1 +10 ack 1");
  EXPECT_EQ(s.after(milliseconds(399)), "");
  EXPECT_EQ(s.after(milliseconds(1)), "PA 1 +10 ack 1");
  EXPECT_EQ(s.after(milliseconds(800)), "PA 1 +10 ack 1");
  EXPECT_EQ(s.in("A 1 ack 11"), "");
  // An acknowledgment ends the backing off.
  EXPECT_EQ(s.send(5), "PA 11 +5 ack 1");
  EXPECT_EQ(s.after(milliseconds(200)), "PA 11 +5 ack 1");
}

TEST(retransmission, a_dead_peer_is_given_up) {
  script_config config;
  config.stack.tcp.data_retries_max = 3;
  script s(config);
  reach_established(s);
  s.send(10);
  EXPECT_EQ(s.after(milliseconds(200 + 400 + 800)), "PA 1 +10 ack 1; PA 1 +10 ack 1; PA 1 +10 ack 1");
  EXPECT_EQ(s.after(milliseconds(1600)), "[failed]");
  EXPECT_EQ(*s.tcp().error(s.c), errc::timedout);
  EXPECT_EQ(s.read(), "error 110");
}

TEST(retransmission, a_syn_is_sent_again_and_given_up) {
  script_config config;
  config.stack.tcp.syn_retries_max = 2;
  script s(config);
  EXPECT_EQ(s.connect(), "S 0");
  EXPECT_EQ(s.after(milliseconds(1000)), "S 0");
  EXPECT_EQ(s.after(milliseconds(1999)), "");
  EXPECT_EQ(s.after(milliseconds(1)), "S 0");
  EXPECT_EQ(s.after(milliseconds(4000)), "[failed]");
  EXPECT_EQ(*s.tcp().error(s.c), errc::timedout);
}

TEST(retransmission, a_syn_ack_is_sent_again_and_forgotten) {
  script_config config;
  config.stack.tcp.synack_retries_max = 2;
  script s(config);
  s.listen();
  EXPECT_EQ(s.in("S 0"), "SA 0 ack 1");
  EXPECT_EQ(s.after(milliseconds(1000)), "SA 0 ack 1");
  EXPECT_EQ(s.after(milliseconds(2000)), "SA 0 ack 1");
  EXPECT_EQ(s.after(milliseconds(4000)), "");
  EXPECT_EQ(s.in("A 1 ack 1"), "R 1");
}

// RFC 5681 3.2, RFC 3042, RFC 6582.
TEST(recovery, three_duplicates_resend_and_a_partial_ack_resends_the_next) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.send(14600),
            "A 1 +1460 ack 1; A 1461 +1460 ack 1; A 2921 +1460 ack 1; A 4381 +1460 ack 1; "
            "A 5841 +1460 ack 1; A 7301 +1460 ack 1; A 8761 +1460 ack 1; A 10221 +1460 ack 1; "
            "A 11681 +1460 ack 1; PA 13141 +1460 ack 1");
  EXPECT_EQ(s.send(14600), "");  // the congestion window is full
  // 1461 and 4381 are lost.
  EXPECT_EQ(s.in("A 1 ack 1461"), "A 14601 +1460 ack 1; A 16061 +1460 ack 1");
  EXPECT_EQ(s.in("A 1 ack 1461"), "A 17521 +1460 ack 1");  // limited transmit
  EXPECT_EQ(s.in("A 1 ack 1461"), "A 18981 +1460 ack 1");
  EXPECT_EQ(s.in("A 1 ack 1461"), "A 1461 +1460 ack 1");
  EXPECT_EQ(s.in("A 1 ack 4381"), "A 4381 +1460 ack 1");     // partial
  EXPECT_EQ(s.in("A 1 ack 20441").substr(0, 7), "A 20441");  // full: on with new data
  EXPECT_FALSE(s.c->recovery.active);
  EXPECT_LT(s.tcp().stats(s.c).cwnd, 14600u);
}

TEST(recovery, a_timeout_begins_again_with_one_segment) {
  script s;
  reach_established(s);
  s.send(14600);
  EXPECT_EQ(s.after(milliseconds(200)), "A 1 +1460 ack 1");
  EXPECT_EQ(s.tcp().stats(s.c).cwnd, 1460u);
  EXPECT_EQ(s.tcp().stats(s.c).ssthresh, 7300u);
  EXPECT_EQ(s.in("A 1 ack 1461"), "A 1461 +1460 ack 1; A 2921 +1460 ack 1");
  // The rest had arrived: no burst.
  EXPECT_EQ(s.in("A 1 ack 14601"), "");
}

TEST(acknowledgment, is_delayed_and_rides_on_data) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.in("A 1 ack 1 +100"), "[readable]");
  EXPECT_EQ(s.after(milliseconds(39)), "");
  EXPECT_EQ(s.after(milliseconds(1)), "A 1 ack 101 win 9900");
  EXPECT_EQ(s.in("A 101 ack 1 +100"), "[readable]");
  EXPECT_EQ(s.send(7), "PA 1 +7 ack 201 win 9800");
  EXPECT_EQ(s.after(milliseconds(40)), "");
}

TEST(acknowledgment, every_second_full_segment_at_once) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.in("A 1 ack 1 +1460"), "[readable]");
  EXPECT_EQ(s.in("A 1461 ack 1 +1460"), "A 1 ack 2921 win 7080 [readable]");
}

TEST(acknowledgment, gaps_and_what_fills_them_at_once) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.in("A 101 ack 1 +100"), "A 1 ack 1");
  EXPECT_EQ(s.in("A 301 ack 1 +100"), "A 1 ack 1");
  EXPECT_EQ(s.in("A 101 ack 1 +100"), "A 1 ack 1");
  EXPECT_EQ(s.in("A 1 ack 1 +100"), "A 1 ack 201 win 9800 [readable]");
  EXPECT_EQ(s.in("A 201 ack 1 +100"), "A 1 ack 401 win 9600 [readable]");
  EXPECT_EQ(s.read(), "400 bytes");
}

TEST(acknowledgment, a_fin_out_of_order_waits_for_what_precedes_it) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.in("FA 101 ack 1 +10"), "A 1 ack 1");
  EXPECT_EQ(s.state(), state::established);
  EXPECT_EQ(s.in("A 1 ack 1 +100"), "A 1 ack 112 win 9889 [readable]");
  EXPECT_EQ(s.state(), state::close_wait);
  EXPECT_EQ(s.read(), "110 bytes");
  EXPECT_EQ(s.read(), "eof");
}

// RFC 9293 3.7.4.
TEST(nagle, a_second_small_segment_waits_for_the_first) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.send(10), "PA 1 +10 ack 1");
  EXPECT_EQ(s.send(10), "");
  EXPECT_EQ(s.send(10), "");
  EXPECT_EQ(s.in("A 1 ack 11"), "PA 11 +20 ack 1");
  s.tcp().set_nodelay(s.c, true);
  EXPECT_EQ(s.send(10), "PA 31 +10 ack 1");
}

TEST(nagle, the_small_end_of_a_large_write_goes_at_once) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.send(1500), "A 1 +1460 ack 1; PA 1461 +40 ack 1");
}

// RFC 9293 3.8.6.1.
TEST(window, a_closed_one_is_probed_for_ever) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.in("A 1 ack 1 win 0"), "");
  EXPECT_EQ(s.send(100), "");
  EXPECT_EQ(s.after(milliseconds(200)), "A 1 +1 ack 1");
  EXPECT_EQ(s.in("A 1 ack 1 win 0"), "");
  EXPECT_EQ(s.after(milliseconds(400)), "A 1 +1 ack 1");
  EXPECT_EQ(s.in("A 1 ack 1 win 0"), "");
  for (int i = 0; i < 30; ++i) {
    s.after(seconds(61));
    EXPECT_EQ(s.in("A 1 ack 1 win 0"), "");
  }
  EXPECT_EQ(s.in("A 1 ack 1 win 50"), "");  // silly
  EXPECT_EQ(s.in("A 1 ack 1 win 1000"), "PA 1 +100 ack 1");
  EXPECT_EQ(s.in("A 1 ack 101"), "");
}

TEST(window, a_probe_that_is_taken_goes_on_from_there) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 win 0");
  s.send(3);
  EXPECT_EQ(s.after(milliseconds(200)), "A 1 +1 ack 1");
  EXPECT_EQ(s.in("A 1 ack 2 win 0"), "");
  EXPECT_EQ(s.after(milliseconds(200)), "A 2 +1 ack 1");
  EXPECT_EQ(s.in("A 1 ack 3 win 100"), "PA 3 +1 ack 1");
}

TEST(window, a_reader_that_stops_closes_it_and_opens_it_again) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 +1460");
  s.in("A 1461 ack 1 +1460");
  s.in("A 2921 ack 1 +1460");
  s.in("A 4381 ack 1 +1460");
  s.in("A 5841 ack 1 +1460");
  EXPECT_EQ(s.in("A 7301 ack 1 +1460"), "A 1 ack 8761 win 1240 [readable]");
  EXPECT_EQ(s.in("A 8761 ack 1 +1460"), "A 1 ack 10001 win 0 [readable]");  // as much of it as the window
  EXPECT_EQ(s.in("A 10001 ack 1 +1"), "A 1 ack 10001");                     // a probe
  EXPECT_EQ(s.read(100), "100 bytes");                                      // too little to tell
  const std::string opened = s.read();
  EXPECT_EQ(opened.substr(0, 28), "9900 bytes; A 1 ack 10001 wi");
}

TEST(options, window_scale_and_mss_are_the_peers) {
  script_config config;
  config.stack.tcp.receive_buffer_bytes = 1 << 20;
  script s(config);
  s.peer_mss = 536;
  s.peer_scale = 3;
  s.listen();
  s.in("S 0");
  s.in("A 1 ack 1 win 100");
  s.accept();
  EXPECT_EQ(s.tcp().stats(s.c).mss, 536u);
  // 100 << 3 bytes fit.
  EXPECT_EQ(s.send(2000), "A 1 +536 ack 1 win 32768");
}

TEST(keepalive, asks_and_gives_up) {
  script s;
  reach_established(s);
  s.tcp().set_keepalive(s.c, true, seconds(10), seconds(2), 2);
  EXPECT_EQ(s.after(seconds(10)), "A 0 ack 1");
  EXPECT_EQ(s.in("A 1 ack 1"), "");
  EXPECT_EQ(s.after(seconds(10)), "A 0 ack 1");
  EXPECT_EQ(s.after(seconds(2)), "A 0 ack 1");
  EXPECT_EQ(s.after(seconds(2)), "RA 1 ack 1 [failed]");
}

TEST(device, a_full_one_holds_everything_back) {
  script s;
  reach_established(s);
  s.device_ready = false;
  EXPECT_EQ(s.send(10), "");
  EXPECT_EQ(s.in("A 1 ack 1 +1460"), "[readable]");
  EXPECT_EQ(s.in("A 1461 ack 1 +1460"), "[readable]");
  s.device_ready = true;
  EXPECT_EQ(s.poll(), "PA 1 +10 ack 2921 win 7080");
}

TEST(offload, a_large_write_is_one_packet_for_the_device_to_cut) {
  script_config config;
  config.path.tx_checksum = true;
  config.path.gso_max = 65535;
  script s(config);
  reach_established(s);
  EXPECT_EQ(s.send(10000), "PA 1 +10000 ack 1");
}

TEST(limits, syns_beyond_the_backlog_push_out_the_oldest) {
  script_config config;
  config.stack.tcp.syn_backlog_max = 1;
  script s(config);
  s.listen();
  EXPECT_EQ(s.in("S 0"), "SA 0 ack 1");
  EXPECT_EQ(s.stats().drops[size_t(drop_reason::tcp_backlog)], 0u);
  EXPECT_EQ(s.in("S 0"), "SA 0 ack 1");  // the same one again
  EXPECT_EQ(s.stats().drops[size_t(drop_reason::tcp_backlog)], 0u);
}

TEST(limits, challenge_acks_are_counted) {
  script s;
  reach_established(s);
  int answered = 0;
  for (int i = 0; i < 3000; ++i) {
    answered += !s.in("R 2").empty();
  }
  EXPECT_EQ(answered, 1000);
  s.after(seconds(1));
  EXPECT_EQ(s.in("R 2"), "A 1 ack 1");
}

TEST(limits, sent_is_told_once_to_who_asks) {
  script s;
  reach_established(s);
  s.tcp().watch_sent(s.c);
  EXPECT_EQ(s.poll(), "[sent]");
  s.send(10);
  s.tcp().watch_sent(s.c);
  EXPECT_EQ(s.in("A 1 ack 6"), "");
  EXPECT_EQ(s.in("A 1 ack 11"), "[sent]");
}

TEST(limits, a_full_send_buffer_says_when_it_has_room) {
  script_config config;
  config.stack.tcp.send_buffer_bytes = 1000;
  script s(config);
  reach_established(s);
  EXPECT_EQ(s.send(1500), "took 1000; PA 1 +1000 ack 1");
  EXPECT_EQ(s.send(1), "error 11");
  EXPECT_EQ(s.in("A 1 ack 301"), "");
  EXPECT_EQ(s.in("A 1 ack 801"), "[writable]");
}

}  // namespace
}  // namespace solaster::drill

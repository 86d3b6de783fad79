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
  // Karn: the acknowledgment of what was sent four times is no measurement, the next one is.
  EXPECT_EQ(s.send(5), "PA 11 +5 ack 1");
  EXPECT_EQ(s.after(milliseconds(1599)), "");
  EXPECT_EQ(s.after(milliseconds(1)), "PA 11 +5 ack 1");
  EXPECT_EQ(s.in("A 1 ack 16"), "");
  EXPECT_EQ(s.send(5), "PA 16 +5 ack 1");
  EXPECT_EQ(s.in("A 1 ack 21"), "");
  EXPECT_EQ(s.send(5), "PA 21 +5 ack 1");
  EXPECT_EQ(s.after(milliseconds(200)), "PA 21 +5 ack 1");
}

// A round trip of 1.5 s is longer than the first RTO: the handshake is sent twice, data is not.
TEST(retransmission, a_round_trip_longer_than_the_first_rto_is_learned) {
  script s;
  EXPECT_EQ(s.connect(), "S 0");
  EXPECT_EQ(s.after(milliseconds(1500)), "S 0");
  EXPECT_EQ(s.in("SA 0 ack 1"), "A 1 ack 1 [established writable]");
  EXPECT_EQ(s.tcp().stats(s.c).rto, seconds(3));  // RFC 6298 5.7
  for (int i = 0; i < 10; ++i) {
    const std::string at = std::to_string(1 + i * 100);
    EXPECT_EQ(s.send(100), "PA " + at + " +100 ack 1");
    EXPECT_EQ(s.after(milliseconds(1500)), "");
    EXPECT_EQ(s.in("A 1 ack " + std::to_string(101 + i * 100)), "");
  }
  EXPECT_EQ(s.tcp().stats(s.c).retransmitted, 0u);
}

// The same where the round trip grows beyond the RTO later on.
TEST(retransmission, a_round_trip_that_has_grown_is_learned) {
  script s;
  reach_established(s);
  uint32_t at = 1;
  for (int i = 0; i < 20; ++i, at += 100) {
    s.send(100);
    s.after(milliseconds(1500));
    s.in("A 1 ack " + std::to_string(at + 100));
  }
  EXPECT_EQ(s.send(100), "PA " + std::to_string(at) + " +100 ack 1");
  EXPECT_EQ(s.after(milliseconds(1500)), "");
  EXPECT_LT(s.tcp().stats(s.c).retransmitted, 5u);
}

// RFC 5681 3.1, RFC 6298 5.7.
TEST(retransmission, a_lost_syn_leaves_one_segment_of_window) {
  for (const bool lost : {false, true}) {
    script s;
    s.connect();
    if (lost) {
      EXPECT_EQ(s.after(seconds(1)), "S 0");
    }
    s.in("SA 0 ack 1");
    EXPECT_EQ(s.tcp().stats(s.c).cwnd, lost ? 1460u : 14600u);
    EXPECT_EQ(s.tcp().stats(s.c).rto, lost ? seconds(3) : milliseconds(200));
  }
  for (const std::string again : {"", "timer", "syn"}) {
    script s;
    s.listen();
    s.in("S 0");
    if (again == "timer") {
      EXPECT_EQ(s.after(seconds(1)), "SA 0 ack 1");
    } else if (again == "syn") {
      EXPECT_EQ(s.in("S 0"), "SA 0 ack 1");
    }
    s.in("A 1 ack 1");
    s.accept();
    EXPECT_EQ(s.tcp().stats(s.c).cwnd, again.empty() ? 14600u : 1460u);
    EXPECT_EQ(s.tcp().stats(s.c).rto, again.empty() ? milliseconds(200) : seconds(3));
  }
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
  EXPECT_EQ(s.in("A 1 ack 1 win 0 +10"), "[readable]");  // text does not make it a duplicate
  EXPECT_EQ(s.read(), "10 bytes");
  EXPECT_EQ(s.in("A 11 ack 1 win 50"), "");  // silly
  EXPECT_EQ(s.in("A 11 ack 1 win 1000"), "PA 1 +100 ack 11 win 9990");
  EXPECT_EQ(s.in("A 11 ack 101"), "");
}

// The peer probes our closed window while it owes us an acknowledgment: no sign of a loss, however often.
TEST(window, the_peers_probes_are_no_duplicate_acks) {
  script s;
  reach_established(s);
  for (int i = 0; i < 7; ++i) {
    s.in("A " + std::to_string(1 + i * 1460) + " ack 1 +1460");
  }
  EXPECT_EQ(s.send(100), "PA 1 +100 ack 10001");
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(s.in("A 10001 ack 1 +1"), "A 101 ack 10001");
  }
}

// What is half old says something new about the peer's window.
TEST(window, a_segment_that_is_half_old_may_set_it) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 +10");
  s.in("A 11 ack 1 win 1000");
  s.in("A 6 ack 1 win 500 +10");
  EXPECT_EQ(s.tcp().stats(s.c).snd_wnd, 500u);
  s.in("A 6 ack 1 win 400");  // wholly old: it does not
  EXPECT_EQ(s.tcp().stats(s.c).snd_wnd, 500u);
}

// Nobody waits for it any more: a peer that keeps its window closed does not hold it for ever.
TEST(window, a_closed_one_does_not_hold_an_orphan) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 win 0");
  s.send(100);
  s.release();
  for (int i = 0; i < 20; ++i) {
    s.after(seconds(61));
    if (s.tcp().connection_count()) {
      s.in("A 1 ack 1 win 0");
    }
  }
  EXPECT_EQ(s.tcp().connection_count(), 0u);
}

// The device may be full just when the timer strikes.
TEST(window, a_probe_waits_for_the_device) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 win 0");
  s.send(100);
  s.device_ready = false;
  EXPECT_EQ(s.after(milliseconds(200)), "");
  s.device_ready = true;
  EXPECT_EQ(s.poll(), "A 1 +1 ack 1");
  EXPECT_EQ(s.poll(), "");
}

// What the probes backed off is not a loss: the RTO is as before.
TEST(window, after_probes_the_rto_is_as_before) {
  script s;
  reach_established(s);
  s.in("A 1 ack 1 win 0");
  s.send(100);
  s.after(milliseconds(200));
  s.in("A 1 ack 1 win 0");
  s.after(seconds(60));
  EXPECT_EQ(s.in("A 1 ack 1 win 1000"), "PA 1 +100 ack 1");
  EXPECT_EQ(s.after(milliseconds(200)), "PA 1 +100 ack 1");
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
  EXPECT_EQ(*s.tcp().error(s.c), errc::timedout);
}

// An interval longer than the idle time: each probe is answered long before the next one is due.
TEST(keepalive, a_peer_that_answers_is_alive_whatever_the_interval) {
  script s;
  reach_established(s);
  s.tcp().set_keepalive(s.c, true, seconds(10), seconds(75), 2);
  for (int i = 0; i < 20; ++i) {
    std::string probe;
    for (int waited = 0; probe.empty() && waited < 200; ++waited) {
      probe = s.after(seconds(1));
    }
    EXPECT_EQ(probe, "A 0 ack 1");
    EXPECT_EQ(s.in("A 1 ack 1"), "");
  }
  EXPECT_EQ(s.state(), state::established);
}

TEST(keepalive, what_the_network_said_is_the_reason) {
  script s;
  reach_established(s);
  s.tcp().set_keepalive(s.c, true, seconds(10), seconds(2), 1);
  s.send(10);
  s.in("A 1 ack 6");
  s.icmp(6, errc::hostunreach, false);
  EXPECT_NE(s.after(seconds(12)).find("[failed]"), std::string::npos);
  EXPECT_EQ(*s.tcp().error(s.c), errc::hostunreach);
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
  EXPECT_EQ(s.in("S 0"), "SA 0 ack 1");  // the same one again
  EXPECT_EQ(s.stats().drops[size_t(drop_reason::tcp_backlog)], 0u);
  s.peer_port = 5001;
  EXPECT_NE(s.in("S 0").find("@5001"), std::string::npos);
  EXPECT_EQ(s.stats().drops[size_t(drop_reason::tcp_backlog)], 1u);
  // The second may go on, the first is forgotten.
  s.peer_port = 5000;
  EXPECT_EQ(s.in("A 1 ack 1"), "R 1");
}

// The one that was asked most often goes first: its peer had its chances.
TEST(limits, the_half_open_connection_asked_most_often_is_pushed_out) {
  script_config config;
  config.stack.tcp.syn_backlog_max = 2;
  script s(config);
  s.listen();
  s.in("S 0");
  EXPECT_EQ(s.after(seconds(1)), "SA 0 ack 1");
  s.peer_port = 5001;
  s.in("S 0");
  s.peer_port = 5002;
  s.in("S 0");
  const auto answer = [&](uint16_t port) {
    s.peer_port = port;
    return s.in("A 1 ack 1");
  };
  EXPECT_EQ(answer(5000), "R 1");
  EXPECT_EQ(answer(5001), "[accept]");
  EXPECT_EQ(answer(5002), "[accept]");
}

// CVE-2016-5696: what one connection is made to answer must not show on another.
TEST(limits, challenge_acks_are_counted_for_each_connection) {
  script s;
  reach_established(s);
  s.peer_port = 5001;
  s.in("S 0");
  EXPECT_EQ(s.in("A 1 ack 1"), "[accept]");
  const auto answered = [&](const char* segment) {
    int n = 0;
    for (int i = 0; i < 3000; ++i) {
      n += !s.in(segment).empty();
    }
    return n;
  };
  EXPECT_EQ(answered("R 2"), 10);
  s.peer_port = 5000;
  EXPECT_EQ(answered("R 2"), 10);
  s.after(seconds(1));
  EXPECT_EQ(answered("S 2"), 10);
  s.after(seconds(1));
  EXPECT_EQ(answered("S 20000"), 10);
  s.peer_port = 5002;  // half-open
  s.in("S 0");
  EXPECT_EQ(answered("R 2"), 10);
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

// Every state against every kind of segment: RFC 9293 3.10.7, with RFC 5961's answers to blind resets, SYNs and ACKs.
#include <gtest/gtest.h>

#include <functional>

#include "tests/drill/script.hh"

namespace solaster::drill {
namespace {

using namespace net;
using tcp::state;

// Both sides' data begins at 1.
void reach_established(script& s) {
  s.listen();
  ASSERT_EQ(s.in("S 0"), "SA 0 ack 1");
  ASSERT_EQ(s.in("A 1 ack 1"), "[accept]");
  ASSERT_NE(s.accept(), nullptr);
  ASSERT_EQ(s.state(), state::established);
}
void reach_fin_wait_1(script& s) {
  reach_established(s);
  ASSERT_EQ(s.close(), "FA 1 ack 1");
}
void reach_fin_wait_2(script& s) {
  reach_fin_wait_1(s);
  ASSERT_EQ(s.in("A 1 ack 2"), "");
  ASSERT_EQ(s.state(), state::fin_wait_2);
}
void reach_close_wait(script& s) {
  reach_established(s);
  ASSERT_EQ(s.in("FA 1 ack 1"), "A 1 ack 2 win 9999 [readable]");
  ASSERT_EQ(s.state(), state::close_wait);
}
void reach_closing(script& s) {
  reach_fin_wait_1(s);
  ASSERT_EQ(s.in("FA 1 ack 1"), "A 2 ack 2 win 9999 [readable]");
  ASSERT_EQ(s.state(), state::closing);
}
void reach_last_ack(script& s) {
  reach_close_wait(s);
  ASSERT_EQ(s.close(), "FA 1 ack 2");
  ASSERT_EQ(s.state(), state::last_ack);
}
void reach_time_wait(script& s) {
  reach_fin_wait_2(s);
  ASSERT_EQ(s.in("FA 1 ack 2"), "A 2 ack 2 win 9999 [readable closed]");
}
void reach_syn_sent(script& s) {
  ASSERT_EQ(s.connect(), "S 0");
}
void reach_syn_received(script& s) {
  reach_syn_sent(s);
  ASSERT_EQ(s.in("S 0"), "SA 0 ack 1");
  ASSERT_EQ(s.state(), state::syn_received);
}
void reach_half_open(script& s) {
  s.listen();
  ASSERT_EQ(s.in("S 0"), "SA 0 ack 1");
}
void reach_listen(script& s) {
  s.listen();
}
void reach_closed(script&) {}

struct row {
  const char* segment;
  const char* answer;  // what goes out, and events
  state after;
};

void expect_rows(const char* name, const std::function<void(script&)>& reach, std::initializer_list<row> rows) {
  for (const row& r : rows) {
    SCOPED_TRACE(std::string(name) + " <- " + r.segment);
    script s;
    reach(s);
    if (testing::Test::HasFatalFailure()) {
      return;
    }
    EXPECT_EQ(s.in(r.segment), r.answer);
    EXPECT_EQ(s.state(), r.after);
  }
}

// 3.10.7.1
TEST(states, closed_answers_with_resets) {
  expect_rows("CLOSED", reach_closed,
              {
                  {"R 5", "", state::closed},
                  {"S 0", "RA 0 ack 1", state::closed},
                  {"F 5", "RA 0 ack 6", state::closed},
                  {"A 5 ack 77", "R 77", state::closed},
                  {"SA 5 ack 77", "R 77", state::closed},
              });
}

// 3.10.7.2
TEST(states, listen_answers_a_syn_only) {
  expect_rows("LISTEN", reach_listen,
              {
                  {"R 5", "", state::closed},
                  {"A 5 ack 77", "R 77", state::closed},
                  {"SA 0 ack 77", "R 77", state::closed},
                  {"S 0", "SA 0 ack 1", state::closed},
                  {"F 5", "", state::closed},
                  {"SF 0", "", state::closed},
              });
}

// 3.10.7.3
TEST(states, syn_sent) {
  expect_rows("SYN-SENT", reach_syn_sent,
              {
                  {"SA 0 ack 1", "A 1 ack 1 [established writable]", state::established},
                  {"SA 0 ack 2", "R 2", state::syn_sent},
                  {"SA 0 ack 0", "R 0", state::syn_sent},
                  {"A 0 ack 1", "", state::syn_sent},
                  {"A 0 ack 2", "R 2", state::syn_sent},
                  {"R 0", "", state::syn_sent},
                  {"RA 0 ack 2", "", state::syn_sent},
                  {"RA 0 ack 1", "[failed]", state::closed},
                  {"S 0", "SA 0 ack 1", state::syn_received},
                  {"F 0", "", state::syn_sent},
                  {"SFA 0 ack 1", "", state::syn_sent},  // a beginning that is an end
                  {"SF 0", "", state::syn_sent},
              });
}

TEST(states, syn_received_of_a_simultaneous_open) {
  expect_rows("SYN-RECEIVED", reach_syn_received,
              {
                  {"SA 0 ack 1", "A 1 ack 1", state::syn_received},
                  {"A 1 ack 1", "[established writable]", state::established},
                  {"A 1 ack 2", "R 2", state::syn_received},
                  {"R 1", "[failed]", state::closed},
                  {"R 2", "A 1 ack 1", state::syn_received},
                  {"S 0", "SA 0 ack 1", state::syn_received},
                  {"A 50000 ack 1", "A 1 ack 1", state::syn_received},
                  {"A 1 ack 1 +10", "[established readable writable]", state::established},
                  {"FA 1 ack 1", "A 1 ack 2 win 9999 [established readable writable]", state::close_wait},
              });
}

TEST(states, syn_received_of_a_passive_open) {
  expect_rows("SYN-RECEIVED", reach_half_open,
              {
                  {"S 0", "SA 0 ack 1", state::closed},
                  {"S 100", "A 1 ack 1", state::closed},
                  {"R 1", "", state::closed},
                  {"R 2", "A 1 ack 1", state::closed},
                  {"R 20000", "", state::closed},
                  {"R 10000", "A 1 ack 1", state::closed},  // the last number of the window
                  {"R 10001", "", state::closed},           // RFC 5961 3.2: its right edge is outside
                  {"SF 0", "A 1 ack 1", state::closed},
                  {"A 1 ack 1", "[accept]", state::closed},
                  {"A 1 ack 2", "R 2", state::closed},
                  {"A 1 ack 0", "R 0", state::closed},
                  {"A 30000 ack 1", "A 1 ack 1", state::closed},
                  {"F 1", "", state::closed},
                  {"FA 1 ack 1", "A 1 ack 2 win 9999 [accept]", state::closed},
                  {"A 1 ack 1 +7", "[accept]", state::closed},
              });
}

// Ten bytes were read and acknowledged before, so that there is an old side of the window: [11, 10001).
void reach_established_with_past(script& s) {
  reach_established(s);
  ASSERT_EQ(s.in("A 1 ack 1 +10"), "[readable]");
  ASSERT_EQ(s.read(), "10 bytes");
  ASSERT_EQ(s.after(milliseconds(40)), "A 1 ack 11 win 9990");
}

TEST(states, established) {
  expect_rows("ESTABLISHED", reach_established_with_past,
              {
                  {"R 11", "[failed]", state::closed},
                  {"R 12", "A 1 ack 11", state::established},
                  {"R 10", "", state::established},
                  {"R 1 +20", "", state::established},  // begins too early, text reaches into the window
                  {"RA 1 ack 1 +20", "", state::established},
                  {"R 10000", "A 1 ack 11", state::established},  // the last number of the window
                  {"R 10001", "", state::established},            // RFC 5961 3.2: its right edge is outside
                  {"R 20001", "", state::established},
                  {"S 5 +20", "A 1 ack 11", state::established},  // likewise
                  {"SF 11", "A 1 ack 11", state::established},
                  {"S 11", "A 1 ack 11", state::established},
                  {"S 0", "A 1 ack 11", state::established},
                  {"SA 11 ack 1", "A 1 ack 11", state::established},
                  {"A 11 ack 1", "", state::established},
                  {"A 11 ack 2", "A 1 ack 11", state::established},          // acknowledges what was never sent
                  {"A 11 ack -70000 +5", "A 1 ack 11", state::established},  // RFC 5961 5.2: older than any window
                  {"A 11 ack 0 +5", "[readable]", state::established},       // old, but not that old
                  {"A 11 ack 1 +10", "[readable]", state::established},
                  {"A 1 ack 1 +10", "A 1 ack 11", state::established},      // old data
                  {"A 6 ack 1 +10", "[readable]", state::established},      // half of it old
                  {"A 12 ack 1 +10", "A 1 ack 11", state::established},     // a gap
                  {"A 10001 ack 1 +10", "A 1 ack 11", state::established},  // beyond the window
                  {"A 10 ack 1", "A 1 ack 11", state::established},         // a keep-alive
                  {"- 11 +5", "", state::established},                      // no flags at all
                  {"F 11", "", state::established},                         // a FIN without an ACK
                  {"FA 11 ack 1", "A 1 ack 12 win 9989 [readable]", state::close_wait},
                  {"FA 12 ack 1", "A 1 ack 11", state::established},  // a FIN behind a gap
                  {"FA 11 ack 1 +4", "A 1 ack 16 win 9985 [readable]", state::close_wait},
              });
}

TEST(states, fin_wait_1) {
  expect_rows("FIN-WAIT-1", reach_fin_wait_1,
              {
                  {"R 1", "[failed]", state::closed},
                  {"R 2", "A 2 ack 1", state::fin_wait_1},
                  {"S 1", "A 2 ack 1", state::fin_wait_1},
                  {"A 1 ack 1", "", state::fin_wait_1},
                  {"A 1 ack 2", "", state::fin_wait_2},
                  {"A 1 ack 3", "A 2 ack 1", state::fin_wait_1},
                  {"A 1 ack 2 +5", "[readable]", state::fin_wait_2},
                  {"A 20000 ack 1 +5", "A 2 ack 1", state::fin_wait_1},
                  {"FA 1 ack 1", "A 2 ack 2 win 9999 [readable]", state::closing},
                  {"FA 1 ack 2", "A 2 ack 2 win 9999 [readable closed]", state::closed},
                  {"FA 1 ack 2 +5", "A 2 ack 7 win 9994 [readable closed]", state::closed},
              });
}

TEST(states, fin_wait_2) {
  expect_rows("FIN-WAIT-2", reach_fin_wait_2,
              {
                  {"R 1", "[failed]", state::closed},
                  {"R 2", "A 2 ack 1", state::fin_wait_2},
                  {"S 1", "A 2 ack 1", state::fin_wait_2},
                  {"A 1 ack 2", "", state::fin_wait_2},
                  {"A 1 ack 2 +5", "[readable]", state::fin_wait_2},
                  {"A 20000 ack 2 +5", "A 2 ack 1", state::fin_wait_2},
                  {"FA 1 ack 2", "A 2 ack 2 win 9999 [readable closed]", state::closed},
              });
}

TEST(states, close_wait) {
  expect_rows("CLOSE-WAIT", reach_close_wait,
              {
                  {"R 2", "[failed]", state::closed},
                  {"R 3", "A 1 ack 2", state::close_wait},
                  {"S 2", "A 1 ack 2", state::close_wait},
                  {"A 2 ack 1", "", state::close_wait},
                  {"A 2 ack 5", "A 1 ack 2", state::close_wait},
                  {"A 2 ack 1 +5", "", state::close_wait},         // "This should not occur"
                  {"FA 1 ack 1", "A 1 ack 2", state::close_wait},  // its FIN again
              });
}

TEST(states, closing) {
  expect_rows("CLOSING", reach_closing,
              {
                  {"R 2", "[closed]", state::closed},
                  {"A 2 ack 1", "", state::closing},
                  {"A 2 ack 2", "[closed]", state::closed},
                  {"FA 1 ack 1", "A 2 ack 2", state::closing},
                  {"S 2", "A 2 ack 2", state::closing},
              });
}

TEST(states, last_ack) {
  expect_rows("LAST-ACK", reach_last_ack,
              {
                  {"R 2", "[closed]", state::closed},
                  {"A 2 ack 1", "", state::last_ack},
                  {"A 2 ack 2", "[closed]", state::closed},
                  {"FA 1 ack 1", "A 2 ack 2", state::last_ack},
                  {"S 2", "A 2 ack 2", state::last_ack},
              });
}

TEST(states, time_wait) {
  expect_rows("TIME-WAIT", reach_time_wait,
              {
                  {"FA 1 ack 2", "A 2 ack 2", state::closed},
                  {"A 2 ack 2", "", state::closed},
                  {"A 2 ack 2 +5", "A 2 ack 2", state::closed},
                  {"R 1", "", state::closed},
                  {"S 1", "A 2 ack 2", state::closed},        // not beyond what was received
                  {"SF 1000", "A 2 ack 2", state::closed},    // no new beginning
                  {"A 1 ack 2", "A 2 ack 2", state::closed},  // a keep-alive: unacceptable, so answered
                  {"A 20000 ack 2", "A 2 ack 2", state::closed},
                  {"- 1", "A 2 ack 2", state::closed},
              });
}

TEST(states, time_wait_ends_after_two_msl_and_a_late_fin_begins_it_again) {
  script s;
  reach_time_wait(s);
  EXPECT_EQ(s.after(seconds(59)), "");
  EXPECT_EQ(s.in("FA 1 ack 2"), "A 2 ack 2");
  EXPECT_EQ(s.after(seconds(59)), "");
  EXPECT_EQ(s.in("FA 1 ack 2"), "A 2 ack 2");
  EXPECT_EQ(s.after(seconds(61)), "");
  EXPECT_EQ(s.in("FA 1 ack 2"), "R 2");
}

TEST(states, only_the_peers_own_fin_begins_time_wait_again) {
  script s;
  reach_time_wait(s);
  s.after(seconds(59));
  EXPECT_EQ(s.in("FA 50 ack 2"), "A 2 ack 2");
  s.after(seconds(2));
  EXPECT_EQ(s.in("FA 1 ack 2"), "R 2");
}

TEST(states, a_syn_beyond_the_old_connection_ends_time_wait) {
  script s;
  reach_time_wait(s);
  const std::string answer = s.in("S 1000");
  EXPECT_EQ(answer.substr(0, 3), "SA ");
  EXPECT_NE(answer.find("ack 1001"), std::string::npos) << answer;
  // Our numbers go on where no old duplicate reaches.
  EXPECT_GT(uint32_t(std::stoul(answer.substr(3))), 65535u);
}

TEST(states, a_reset_ends_time_wait_only_with_the_exact_number) {
  script s;
  reach_time_wait(s);
  EXPECT_EQ(s.in("R 3"), "");
  EXPECT_EQ(s.in("FA 1 ack 2"), "A 2 ack 2");
  EXPECT_EQ(s.in("R 2"), "");
  EXPECT_EQ(s.in("FA 1 ack 2"), "R 2");
}

TEST(states, simultaneous_open_and_close) {
  script s;
  reach_syn_received(s);
  EXPECT_EQ(s.in("A 1 ack 1"), "[established writable]");
  EXPECT_EQ(s.close(), "FA 1 ack 1");
  EXPECT_EQ(s.in("FA 1 ack 1"), "A 2 ack 2 win 9999 [readable]");
  EXPECT_EQ(s.in("A 2 ack 2"), "[closed]");
}

TEST(states, half_close_goes_on_receiving) {
  script s;
  reach_fin_wait_2(s);
  EXPECT_EQ(s.in("PA 1 ack 2 +100"), "[readable]");
  EXPECT_EQ(s.read(), "100 bytes");
  EXPECT_EQ(s.send(1), "error 32");
  EXPECT_EQ(s.in("FA 101 ack 2"), "A 2 ack 102 win 9899 [readable closed]");
  EXPECT_EQ(s.read(), "eof");
}

TEST(states, half_closed_by_the_peer_goes_on_sending) {
  script s;
  reach_close_wait(s);
  EXPECT_EQ(s.read(), "eof");
  EXPECT_EQ(s.send(100), "PA 1 +100 ack 2");
  EXPECT_EQ(s.in("A 2 ack 101"), "");
  EXPECT_EQ(s.close(), "FA 101 ack 2");
  EXPECT_EQ(s.in("A 2 ack 102"), "[closed]");
  EXPECT_EQ(s.in("A 2 ack 102"), "R 102");
}

TEST(states, abort_resets_with_the_number_that_the_peer_expects) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.send(10), "PA 1 +10 ack 1");
  EXPECT_EQ(s.abort(), "RA 11 ack 1 [closed]");
  EXPECT_EQ(s.in("A 1 ack 11"), "R 11");
}

TEST(states, release_is_a_close_and_late_data_is_reset) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.release(), "FA 1 ack 1");
  EXPECT_EQ(s.in("A 1 ack 1 +5"), "");  // our FIN is on its way: taken and thrown away
  EXPECT_EQ(s.in("A 6 ack 2 +5"), "RA 2 ack 6");
  EXPECT_EQ(s.tcp().connection_count(), 0u);
}

TEST(states, fin_wait_2_without_a_host_ends_by_itself) {
  script s;
  reach_fin_wait_2(s);
  s.release();
  EXPECT_EQ(s.tcp().connection_count(), 1u);
  s.after(seconds(61));
  EXPECT_EQ(s.tcp().connection_count(), 0u);
}

TEST(states, a_connection_reset_before_accept_disappears) {
  script s;
  s.listen();
  s.in("S 0");
  EXPECT_EQ(s.in("A 1 ack 1"), "[accept]");
  EXPECT_EQ(s.in("R 1"), "");
  EXPECT_EQ(s.accept(), nullptr);
  EXPECT_EQ(s.tcp().connection_count(), 0u);
}

}  // namespace
}  // namespace solaster::drill

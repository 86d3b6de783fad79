// RFC 1191: the path takes less than we thought.
#include <gtest/gtest.h>

#include "net/tcp/connection.hh"
#include "tests/drill/script.hh"

namespace solaster::drill {
namespace {

using namespace net;

void reach_established(script& s) {
  s.listen();
  ASSERT_EQ(s.in("S 0").substr(0, 2), "SA");
  ASSERT_EQ(s.in("A 1 ack 1"), "[accept]");
  ASSERT_NE(s.accept(), nullptr);
}

TEST(path_mtu, what_was_too_large_is_cut_anew_and_sent_at_once) {
  script s;
  reach_established(s);
  EXPECT_EQ(s.send(2920), "A 1 +1460 ack 1; PA 1461 +1460 ack 1");
  s.icmp(1, errc::msgsize, false, 1000);
  EXPECT_EQ(s.poll(), "A 1 +960 ack 1; A 961 +960 ack 1; A 1921 +960 ack 1; PA 2881 +40 ack 1");
  EXPECT_EQ(s.tcp().stats(s.c).path_mtu, 1000u);
  EXPECT_EQ(s.tcp().stats(s.c).mss, 960u);
  // RFC 1191 6.5: no sign of congestion. And one router's message is enough.
  EXPECT_EQ(s.tcp().stats(s.c).cwnd, 14600u);
  s.icmp(1461, errc::msgsize, false, 1000);
  EXPECT_EQ(s.poll(), "");
  EXPECT_EQ(s.in("A 1 ack 2921"), "");
  EXPECT_EQ(s.send(1920), "A 2921 +960 ack 1; PA 3881 +960 ack 1");
}

TEST(path_mtu, the_other_sides_limit_stays) {
  script s;
  s.peer_mss = 800;
  reach_established(s);
  EXPECT_EQ(s.send(800), "PA 1 +800 ack 1");
  s.icmp(1, errc::msgsize, false, 1000);
  EXPECT_EQ(s.tcp().stats(s.c).mss, 800u);
}

TEST(path_mtu, lies_are_not_believed) {
  script s;
  reach_established(s);
  s.send(1460);
  s.icmp(1, errc::msgsize, false, 1500);    // no news
  s.icmp(1, errc::msgsize, false, 9000);    // nor this
  s.icmp(5000, errc::msgsize, false, 600);  // nothing of ours
  EXPECT_EQ(s.tcp().stats(s.c).path_mtu, 1500u);
  EXPECT_EQ(s.poll(), "");
  // So small is no link's MTU.
  s.icmp(1, errc::msgsize, false, 68);
  EXPECT_EQ(s.tcp().stats(s.c).path_mtu, 552u);
}

TEST(path_mtu, what_a_device_cuts_is_cut_smaller) {
  script_config config;
  config.path.tx_checksum = true;
  config.path.gso_max = 65535;
  script s(config);
  reach_established(s);
  EXPECT_EQ(s.send(10000), "PA 1 +10000 ack 1");
  s.icmp(1, errc::msgsize, false, 1000);
  EXPECT_EQ(s.poll(), "PA 1 +10000 ack 1");
  EXPECT_EQ(s.tcp().stats(s.c).mss, 960u);
}

TEST(path_mtu, of_an_open_is_its_segments) {
  script s;
  s.connect();
  s.icmp(0, errc::msgsize, false, 1000);
  EXPECT_EQ(s.in("SA 0 ack 1"), "A 1 ack 1 [established writable]");
  EXPECT_EQ(s.tcp().stats(s.c).mss, 960u);
}

}  // namespace
}  // namespace solaster::drill

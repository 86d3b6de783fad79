// TCP in the stack that it is made for: what only shows where IP, ARP and the device's door are the real ones.
#include <gtest/gtest.h>

#include "tests/unit/net/support/stack_host.hh"

namespace solaster::net {
namespace {

using namespace testing;

constexpr uint8_t syn = 2, ack = 16;

struct opening : stack_host {
  opening() {
    connection = *s->tcp().connect({}, {ip_of(2), 80}, nullptr, now);
    port = s->tcp().tuple(connection).local.port;
  }
  ~opening() override {
    if (connection) {
      s->tcp().release(connection, now);
    }
  }
  uint32_t bits() {
    uint32_t sum = 0;
    for (const event& e : events()) {
      sum |= e.kind == event_kind::connection ? e.bits : 0;
    }
    return sum;
  }
  tcp::connection* connection;
  uint16_t port;
};

struct established : opening {
  established() {
    in(ethernet(mac_of(1), mac_of(2), 0x0806, arp(1, mac_of(2), ip_of(2), {}, ip_of(1))));
    sent();
    const bytes& f = frames.back();  // the SYN, behind the ARP reply
    seq = uint32_t(f[38]) << 24 | uint32_t(f[39]) << 16 | uint32_t(f[40]) << 8 | f[41];
  }
  void segment(uint32_t at, uint32_t acknowledged, uint8_t flags, uint16_t window) {
    in_ip(ip(ip_of(2), ip_of(1), 6,
             tcp_segment(ip_of(2), 80, ip_of(1), port, 1000 + at, seq + acknowledged, flags, {}, window)));
  }
  void send(uint32_t n) {
    fragment f[1] = {make_heap_fragment(memory_, n)};
    EXPECT_TRUE(s->tcp().send(connection, f, now));
  }
  std::string data(uint32_t n, const char* flags = "PA") {
    return "tcp 10.0.0.1:" + std::to_string(port) + " > 10.0.0.2:80 " + flags + " len " + std::to_string(n) +
           " to 52:54:00:00:00:02";
  }
  uint32_t seq = 0;
};

// The window update that opens a closed window again may be lost: only a probe finds out.
TEST(tcp_in_the_stack, a_closed_window_is_probed) {
  established h;
  h.segment(0, 1, syn | ack, 65535);
  h.sent();
  h.segment(1, 1, ack, 0);
  h.send(100);
  EXPECT_EQ(h.sent(), lines{});
  std::vector<std::string> probe;
  for (int i = 0; probe.empty() && i < 100; ++i) {
    h.jump(seconds(1));
    probe = h.sent();
  }
  EXPECT_EQ(probe, lines{h.data(1, "A")});
  h.segment(1, 1, ack, 1000);
  EXPECT_EQ(h.sent(), lines{h.data(100)});
}

TEST(tcp_in_the_stack, an_open_that_no_neighbour_answers_fails) {
  opening h;
  h.sent();
  uint32_t bits = 0;
  for (int i = 0; i < 20 && !bits; ++i) {
    h.advance(milliseconds(500));
    h.sent();
    bits = h.bits();
  }
  EXPECT_EQ(bits, uint32_t(connection_failed));
  EXPECT_EQ(h.s->tcp().take_error(h.connection), errc::hostunreach);
}

TEST(tcp_in_the_stack, an_address_that_changes_ends_its_connections) {
  established h;
  h.segment(0, 1, syn | ack, 65535);
  h.sent();
  h.bits();
  h.s->set_address({.address = ip_of(1), .prefix_length = 16, .gateway = {}}, h.now);
  EXPECT_EQ(h.bits(), 0u);  // the same one
  h.s->set_address({.address = ip_of(77), .prefix_length = 24, .gateway = {}}, h.now);
  EXPECT_EQ(h.bits(), uint32_t(connection_failed));
  EXPECT_EQ(h.s->tcp().take_error(h.connection), errc::connaborted);
}

// A router that names no MTU (RFC 1191 5): the next plateau below what was too large.
TEST(tcp_in_the_stack, fragmentation_needed_without_an_mtu_steps_down) {
  established h;
  h.segment(0, 1, syn | ack, 65535);
  h.sent();
  h.send(536);
  h.sent();
  ASSERT_EQ(h.frames.size(), 1u);
  bytes quoted(h.frames[0].begin() + 14, h.frames[0].begin() + 14 + 28);
  quoted[2] = 1500 >> 8;  // as if it had been that large
  quoted[3] = 1500 & 255;
  quoted[10] = quoted[11] = 0;
  const uint16_t sum = sum_of(bytes(quoted.begin(), quoted.begin() + 20));
  quoted[10] = uint8_t(sum >> 8);
  quoted[11] = uint8_t(sum);
  h.in_ip(ip(ip_of(254), ip_of(1), 1, icmp(3, 4, 0, quoted)));
  EXPECT_EQ(h.s->tcp().stats(h.connection).path_mtu, 1492u);
}

}  // namespace
}  // namespace solaster::net

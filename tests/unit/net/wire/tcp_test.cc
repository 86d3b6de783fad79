#include "net/wire/tcp.hh"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <vector>

#include "net/base/prng.hh"

#include "net/wire/ipv4.hh"
#include "net/wire/udp.hh"

namespace solaster::net {
namespace {

// Our constants against the system's.
static_assert(tcp_header_min == sizeof(tcphdr));
static_assert(tcp_checksum_offset == offsetof(tcphdr, th_sum));
static_assert(tcp_fin == TH_FIN && tcp_syn == TH_SYN && tcp_rst == TH_RST && tcp_psh == TH_PUSH && tcp_ack == TH_ACK &&
              tcp_urg == TH_URG);
static_assert(uint8_t(tcp_option::mss) == TCPOPT_MAXSEG && uint8_t(tcp_option::window_scale) == TCPOPT_WINDOW);
static_assert(uint8_t(tcp_option::sack_permitted) == TCPOPT_SACK_PERMITTED && uint8_t(tcp_option::sack) == TCPOPT_SACK);
static_assert(uint8_t(tcp_option::timestamps) == TCPOPT_TIMESTAMP);
static_assert(tcp_window_scale_max == TCP_MAX_WINSHIFT && tcp_mss_default == TCP_MSS + 24);

TEST(tcp_wire, header_lies_where_the_system_says) {
  std::byte bytes[20];
  tcp_header{.source_port = 11211,
             .destination_port = 40000,
             .seq = 0x01020304,
             .ack = 0x05060708,
             .flags = tcp_syn | tcp_ack,
             .window = 0x1234,
             .urgent = 7}
      .emit(bytes);
  tcphdr h;
  memcpy(&h, bytes, sizeof h);
  EXPECT_EQ(ntohs(h.th_sport), 11211);
  EXPECT_EQ(ntohs(h.th_dport), 40000);
  EXPECT_EQ(ntohl(h.th_seq), 0x01020304u);
  EXPECT_EQ(ntohl(h.th_ack), 0x05060708u);
  EXPECT_EQ(h.th_off, 5);
  EXPECT_TRUE(h.syn && h.ack && !h.fin && !h.rst && !h.psh && !h.urg);
  EXPECT_EQ(ntohs(h.th_win), 0x1234);
  EXPECT_EQ(ntohs(h.th_urp), 7);
  tcp_view v;
  ASSERT_TRUE(v.read(bytes, 20));
  EXPECT_EQ(v.source_port(), 11211);
  EXPECT_EQ(v.seq(), 0x01020304u);
  EXPECT_EQ(v.ack(), 0x05060708u);
  EXPECT_EQ(v.window(), 0x1234);
  EXPECT_EQ(v.header_length(), 20u);
}

TEST(tcp_wire, lengths_that_lie_are_refused) {
  std::byte bytes[60]{};
  tcp_view v;
  EXPECT_FALSE(v.read(bytes, 60));  // data offset 0
  bytes[12] = std::byte(0x40);
  EXPECT_FALSE(v.read(bytes, 60));  // 16
  bytes[12] = std::byte(0xf0);
  EXPECT_FALSE(v.read(bytes, 59));
  EXPECT_FALSE(v.read(bytes, 19));
  EXPECT_TRUE(v.read(bytes, 60));
}

// The bytes lie in memory that a device may write to at any time.
TEST(wire, lengths_stay_what_they_were_when_they_were_checked) {
  std::byte b[60]{};
  b[12] = std::byte(0x50);
  tcp_view tcp;
  ASSERT_TRUE(tcp.read(b, 20));
  b[12] = std::byte(0xf0);
  EXPECT_EQ(tcp.header_length(), 20u);
  EXPECT_TRUE(tcp.option_bytes().empty());

  ipv4_header header;
  header.total_length = 40;
  header.emit(b);
  ipv4_view ip;
  ASSERT_EQ(ip.read(b, 20, 40), ipv4_fault::none);
  store_be16(b + 2, 1500);
  b[0] = std::byte(0x4f);
  EXPECT_EQ(ip.total_length(), 40);
  EXPECT_EQ(ip.header_length(), 20u);
  EXPECT_EQ(ip.payload(), b + 20);

  udp_header datagram;
  datagram.length = 30;
  datagram.emit(b);
  udp_view udp;
  ASSERT_TRUE(udp.read(b, 8, 30));
  store_be16(b + 4, 1400);
  EXPECT_EQ(udp.length(), 30);
}

TEST(tcp_wire, linux_syn_options_parse) {
  const uint8_t raw[] = {2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7};
  const tcp_options o = tcp_options::parse(reinterpret_cast<const std::byte*>(raw), sizeof raw);
  EXPECT_EQ(o.mss, 1460);
  EXPECT_TRUE(o.sack_permitted && o.timestamps);
  EXPECT_EQ(o.ts_value, 1u);
  EXPECT_EQ(o.ts_echo, 2u);
  EXPECT_EQ(o.window_scale, 7);
}

TEST(tcp_wire, options_come_back_as_they_went) {
  for (int bits = 0; bits < 32; ++bits) {
    tcp_options o;
    if (bits & 1)
      o.mss = 1460;
    if (bits & 2)
      o.window_scale = 9;
    if (bits & 4)
      o.sack_permitted = true;
    if (bits & 8)
      o.timestamps = true, o.ts_value = 0xdeadbeef, o.ts_echo = 77;
    if (bits & 16)
      o.sack_count = 2, o.sack[0] = {1, 2}, o.sack[1] = {0xfffffff0, 5};
    std::byte out[64];
    ASSERT_EQ(o.size() % 4, 0u);
    o.emit(out);
    EXPECT_EQ(tcp_options::parse(out, o.size()), o) << bits;
  }
}

TEST(tcp_wire, random_options_do_not_run_out_of_their_bytes) {
  const uint64_t seed = 7;
  prng random(seed);
  for (int i = 0; i < 20000; ++i) {
    const uint32_t n = uint32_t(random.below(41));
    std::vector<std::byte> bytes(n);  // its own allocation: the sanitizer sees an overrun
    for (auto& b : bytes)
      b = std::byte(random.chance_ppm(700'000) ? random.below(12) : random.next());
    const tcp_options o = tcp_options::parse(bytes.data(), n);
    ASSERT_LE(o.sack_count, 4) << "seed " << seed;
  }
}

}  // namespace
}  // namespace solaster::net

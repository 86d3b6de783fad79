#include "net/wire/icmp.hh"

#include <gtest/gtest.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

#include "net/wire/ipv4.hh"
#include "tests/unit/net/support/stack_host.hh"

namespace solaster::net {
namespace {

using namespace testing;

static_assert(ipv4_header_min == sizeof(iphdr) && icmp_header_size == sizeof(icmphdr));
static_assert(uint8_t(icmp_type::echo_reply) == ICMP_ECHOREPLY && uint8_t(icmp_type::echo_request) == ICMP_ECHO);
static_assert(uint8_t(icmp_type::unreachable) == ICMP_DEST_UNREACH &&
              uint8_t(icmp_type::time_exceeded) == ICMP_TIME_EXCEEDED);
static_assert(uint8_t(icmp_unreachable::port) == ICMP_PORT_UNREACH &&
              uint8_t(icmp_unreachable::protocol) == ICMP_PROT_UNREACH);
static_assert(uint8_t(icmp_unreachable::fragmentation_needed) == ICMP_FRAG_NEEDED &&
              uint8_t(icmp_unreachable::prohibited) == ICMP_PKT_FILTERED);
static_assert(uint8_t(ip_protocol::tcp) == IPPROTO_TCP && uint8_t(ip_protocol::udp) == IPPROTO_UDP &&
              uint8_t(ip_protocol::icmp) == IPPROTO_ICMP);

TEST(ipv4_wire, header_lies_where_the_system_says) {
  std::byte b[20];
  ipv4_header{.tos = 4,
              .total_length = 1500,
              .id = 0x1234,
              .ttl = 63,
              .protocol = 6,
              .source = ip_of(1),
              .destination = ip_of(2)}
      .emit(b);
  iphdr h;
  memcpy(&h, b, sizeof h);
  EXPECT_EQ(h.version, 4);
  EXPECT_EQ(h.ihl, 5);
  EXPECT_EQ(h.tos, 4);
  EXPECT_EQ(ntohs(h.tot_len), 1500);
  EXPECT_EQ(ntohs(h.id), 0x1234);
  EXPECT_EQ(ntohs(h.frag_off), IP_DF);
  EXPECT_EQ(h.ttl, 63);
  EXPECT_EQ(h.protocol, 6);
  EXPECT_EQ(ntohl(h.saddr), ip_of(1).value);
  EXPECT_EQ(ntohl(h.daddr), ip_of(2).value);
  ipv4_view v;
  EXPECT_EQ(v.read(b, 20, 1499), ipv4_fault::total_length);
  EXPECT_EQ(v.read(b, 19, 1500), ipv4_fault::too_short);
  EXPECT_EQ(v.read(b, 20, 1500), ipv4_fault::none);
  EXPECT_TRUE(v.checksum_ok());
  b[8] = std::byte(62);
  EXPECT_FALSE(v.checksum_ok());
}

TEST(icmp, echo_comes_back_with_its_payload) {
  stack_host h;
  h.know_peer();
  for (size_t n : {0, 1, 56, 1472}) {
    const bytes payload(n, 0xab);
    h.in_ip(ip(ip_of(2), ip_of(1), 1, echo(8, 7, 9, payload)));
    EXPECT_EQ(h.sent(), lines{"icmp 0/0 10.0.0.1 > 10.0.0.2 len " + std::to_string(n) + " to 52:54:00:00:00:02"});
    EXPECT_EQ(bytes(h.frames[0].begin() + 34, h.frames[0].end()), echo(0, 7, 9, payload));
  }
}

TEST(icmp, echo_in_many_fragments_and_with_ip_options) {
  stack_host h;
  h.know_peer();
  const bytes f = ethernet(mac_of(1), mac_of(2), 0x0800,
                           ip(ip_of(2), ip_of(1), 1, echo(8, 1, 1, bytes(300, 0x5a)), {.options = bytes(8, 1)}));
  for (uint32_t cut = 0; cut < 100; ++cut) {
    h.in(f, {cut, cut + 7, 200});
    EXPECT_EQ(h.sent(), lines{"icmp 0/0 10.0.0.1 > 10.0.0.2 len 300 to 52:54:00:00:00:02"}) << cut;
  }
}

TEST(icmp, bad_ones_are_dropped_with_a_reason) {
  stack_host h;
  h.know_peer();
  bytes e = echo(8, 1, 1, text("hello"));
  e[9] ^= 1;
  h.in_ip(ip(ip_of(2), ip_of(1), 1, e));
  h.in_ip(ip(ip_of(2), ip_of(1), 1, bytes{8, 0, 0}));
  h.in_ip(ip(ip_of(2), ip_of(255), 1, echo(8, 1, 1, {})));
  h.in_ip(ip(ip_of(1), ip_of(1), 1, echo(8, 1, 1, {})));
  h.in_ip(ip(ipv4_address::of(127, 0, 0, 1), ip_of(1), 1, echo(8, 1, 1, {})));
  EXPECT_EQ(h.sent(), lines{});
  EXPECT_EQ(h.drops(drop_reason::icmp_checksum), 1u);
  EXPECT_EQ(h.drops(drop_reason::icmp_malformed), 1u);
  EXPECT_EQ(h.drops(drop_reason::ip_not_ours), 1u);
  EXPECT_EQ(h.drops(drop_reason::ip_source), 2u);
}

TEST(ip, lying_headers_are_dropped_with_a_reason) {
  stack_host h;
  const bytes good = ip(ip_of(2), ip_of(1), 1, echo(8, 1, 1, text("hello")));
  auto with = [&](size_t at, uint8_t v, bool fix = true) {
    bytes b = good;
    b[at] = v;
    if (fix) {
      b[10] = b[11] = 0;
      const uint16_t sum = sum_of(bytes(b.begin(), b.begin() + 20));
      b[10] = uint8_t(sum >> 8), b[11] = uint8_t(sum);
    }
    h.in_ip(b);
  };
  with(0, 0x65);
  EXPECT_EQ(h.drops(drop_reason::ip_version), 1u);
  with(0, 0x44);
  with(0, 0x4f);  // longer than the packet
  EXPECT_EQ(h.drops(drop_reason::ip_header_length), 2u);
  with(3, 19);
  with(3, uint8_t(good.size() + 1));
  EXPECT_EQ(h.drops(drop_reason::ip_length), 2u);
  with(8, 1, false);
  EXPECT_EQ(h.drops(drop_reason::ip_checksum), 1u);
  with(6, 0x20);  // more fragments
  with(7, 1);     // an offset
  EXPECT_EQ(h.drops(drop_reason::ip_fragment), 2u);
  h.in_ip(bytes(good.begin(), good.begin() + 12));
  EXPECT_EQ(h.drops(drop_reason::ip_short), 1u);
  h.in(bytes(13, 0));
  h.in(bytes{});
  EXPECT_EQ(h.drops(drop_reason::ethernet_short), 2u);
  h.in(ethernet(mac_of(3), mac_of(2), 0x0800, good));
  EXPECT_EQ(h.drops(drop_reason::ethernet_not_ours), 1u);
  h.in(ethernet(mac_of(1), mac_of(2), 0x86dd, good));
  EXPECT_EQ(h.drops(drop_reason::ethertype_unknown), 1u);
  EXPECT_EQ(h.sent(), lines{});
}

TEST(ip, padding_behind_the_datagram_is_trimmed) {
  stack_host h;
  h.know_peer();
  h.in(ethernet(mac_of(1), mac_of(2), 0x0800, ip(ip_of(2), ip_of(1), 1, echo(8, 1, 1, {}))) + bytes(18, 0xee));
  EXPECT_EQ(h.sent(), lines{"icmp 0/0 10.0.0.1 > 10.0.0.2 len 0 to 52:54:00:00:00:02"});
}

TEST(icmp, unknown_protocol_and_port_are_reported_to_the_sender) {
  stack_host h;
  h.know_peer();
  h.in_ip(ip(ip_of(2), ip_of(1), 99, text("what is this?")));
  EXPECT_EQ(h.sent(), lines{"icmp 3/2 10.0.0.1 > 10.0.0.2 len 33 to 52:54:00:00:00:02"});
  const bytes d = ip(ip_of(2), ip_of(1), 17, udp(ip_of(2), 5, ip_of(1), 6, text("hi")));
  h.in_ip(d);
  EXPECT_EQ(h.sent(), lines{"icmp 3/3 10.0.0.1 > 10.0.0.2 len 30 to 52:54:00:00:00:02"});
  EXPECT_EQ(bytes(h.frames[0].begin() + 42, h.frames[0].end()), d);  // the quotation
  h.in(ethernet(mac_address::broadcast(), mac_of(2), 0x0800,
                ip(ip_of(2), ip_of(255), 17, udp(ip_of(2), 5, ip_of(255), 6, text("hi")))));
  EXPECT_EQ(h.sent(), lines{});
  EXPECT_EQ(h.drops(drop_reason::udp_no_socket), 2u);
}

TEST(icmp, errors_are_rate_limited) {
  auto c = stack_host::default_config();
  c.icmp_errors_per_second = 10;
  c.icmp_errors_burst = 5;
  stack_host h(c);
  h.know_peer();
  auto storm = [&] {
    for (int i = 0; i < 20; ++i)
      h.in_ip(ip(ip_of(2), ip_of(1), 99, {}));
    return h.sent().size();
  };
  EXPECT_EQ(storm(), 5u);
  h.advance(milliseconds(200));
  EXPECT_EQ(storm(), 2u);
  h.advance(seconds(30));
  EXPECT_EQ(storm(), 5u);
}

// RFC 1191 5: routers of old name no MTU; others name one that cannot be.
TEST(icmp, fragmentation_needed_without_an_mtu_steps_down_to_the_next_plateau) {
  stack_host h;
  h.know_peer();
  udp_socket* s = *h.s->udp_open({{}, 1000}, &h, h.now);
  ASSERT_TRUE(h.s->udp_send(s, {{}, {ip_of(2), 53}, nullptr}, h.now));
  h.sent();
  bytes ours(h.frames[0].begin() + 14, h.frames[0].end());
  const auto mtu_after = [&](uint16_t packet, uint16_t mtu) {
    ours[2] = uint8_t(packet >> 8), ours[3] = uint8_t(packet);
    h.in_ip(ip(ip_of(254), ip_of(1), 1, icmp(3, 4, mtu, ours)));
    return h.s->udp_take_error(s)->mtu;
  };
  EXPECT_EQ(mtu_after(1500, 0), 1492u);
  EXPECT_EQ(mtu_after(1492, 0), 1006u);
  EXPECT_EQ(mtu_after(1500, 67), 1492u);
  EXPECT_EQ(mtu_after(1500, 1500), 1492u);  // it fitted
  EXPECT_EQ(mtu_after(1500, 9000), 1492u);
  EXPECT_EQ(mtu_after(1500, 68), 68u);
  EXPECT_EQ(mtu_after(60, 0), 68u);
}

TEST(icmp, error_about_our_datagram_reaches_its_socket) {
  stack_host h;
  h.know_peer();
  udp_socket* s = *h.s->udp_open({{}, 1000}, &h, h.now);
  ASSERT_TRUE(h.s->udp_send(s, {{}, {ip_of(2), 53}, nullptr}, h.now));
  h.sent();
  const bytes ours(h.frames[0].begin() + 14, h.frames[0].end());
  h.in_ip(ip(ip_of(2), ip_of(1), 1, icmp(3, 3, 0, ours)));
  auto events = h.events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].bits, udp_failed);
  EXPECT_EQ(events[0].udp, s);
  EXPECT_EQ(events[0].cookie, &h);
  const auto error = h.s->udp_take_error(s);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->error, errc::connrefused);
  EXPECT_EQ(error->remote, (endpoint{ip_of(2), 53}));
  EXPECT_FALSE(h.s->udp_take_error(s));
  bytes large = ours;  // as a router quotes a packet that was too large: the header says how large
  large[2] = 1500 >> 8, large[3] = 1500 & 0xff;
  h.in_ip(ip(ip_of(254), ip_of(1), 1, icmp(3, 4, 1400, large)));
  EXPECT_EQ(h.s->udp_take_error(s)->mtu, 1400u);
  // About somebody else's packet, cut short, of a fragment.
  h.in_ip(ip(ip_of(2), ip_of(1), 1, icmp(3, 3, 0, ip(ip_of(7), ip_of(2), 17, bytes(8)))));
  h.in_ip(ip(ip_of(2), ip_of(1), 1, icmp(3, 3, 0, bytes(ours.begin(), ours.begin() + 24))));
  EXPECT_EQ(h.drops(drop_reason::icmp_malformed), 2u);
}

}  // namespace
}  // namespace solaster::net

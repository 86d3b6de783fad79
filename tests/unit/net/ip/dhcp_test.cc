// The DHCP client through the whole stack: (time, reply in, message out).
#include "net/ip/dhcp.hh"

#include <gtest/gtest.h>

#include "net/base/prng.hh"
#include "tests/unit/net/support/stack_host.hh"

namespace solaster::net {
namespace {

using namespace testing;

// Option 53.
constexpr uint8_t offer = 2, ack = 5, nak = 6;
constexpr ipv4_address server = ip_of(254);

bytes option(uint8_t code, const bytes& value) {
  return bytes{code, uint8_t(value.size())} + value;
}

struct with_dhcp : stack_host {
  with_dhcp() : stack_host(default_config(), false) { s->start_dhcp(now); }

  // One line a message sent: its type and what matters. Other frames as usual.
  lines messages() {
    lines out = sent();
    for (size_t i = 0; i < out.size(); ++i) {
      const bytes& f = frames[i];
      if (f.size() != 14 + 20 + 8 + 300)
        continue;
      const bytes m(f.begin() + 42, f.end());
      xid = uint32_t(m[4]) << 24 | uint32_t(m[5]) << 16 | uint32_t(m[6]) << 8 | m[7];
      static const char* names[] = {"", "discover", "offer", "request", "decline"};
      std::string line = names[m[242]];
      EXPECT_EQ(m[0], 1);
      EXPECT_EQ(m[240], 53);
      EXPECT_EQ(bytes(m.begin() + 28, m.begin() + 34), (bytes{0x52, 0x54, 0, 0, 0, 1}));
      if (m[12])
        line += " ciaddr " + std::to_string(m[15]);
      for (size_t o = 240; m[o] != 255; o += 2 + m[o + 1]) {
        if (m[o] == 50)
          line += " wants " + std::to_string(m[o + 5]);
        if (m[o] == 54)
          line += " from " + std::to_string(m[o + 5]);
      }
      line += f[0] == 0xff ? " broadcast" : " unicast";
      out[i] = line;
      EXPECT_EQ(describe(f).find("BAD"), std::string::npos);
    }
    return out;
  }
  void reply(uint8_t type, ipv4_address yours, const bytes& more = {}, ipv4_address to = ipv4_address::broadcast()) {
    const bytes options = option(53, {type}) + option(54, be32(from.value)) + option(1, {255, 255, 255, 0}) +
                          option(3, be32(server.value)) + more + bytes{255};
    const bytes d = dhcp_reply_bytes(xid, mac_of(1), yours, options);
    in(ethernet(to == ipv4_address::broadcast() ? mac_address::broadcast() : mac_of(1), mac_of(254), 0x0800,
                ip(server, to, 17, udp(server, 67, to, 68, d))));
  }
  void bind(uint32_t lease_seconds = 1000) {
    messages();
    reply(offer, ip_of(7));
    messages();
    reply(ack, ip_of(7), option(51, be32(lease_seconds)));
  }
  uint32_t xid = 0;
  ipv4_address from = server;  // who the replies say that they are
};

const std::string announcement = "arp request 10.0.0.7 asks 10.0.0.7 to ff:ff:ff:ff:ff:ff";

TEST(dhcp, discover_offer_request_ack) {
  with_dhcp h;
  EXPECT_EQ(h.messages(), lines{"discover broadcast"});
  EXPECT_EQ(describe(h.frames[0]), "udp 0.0.0.0:68 > 255.255.255.255:67 len 300 to ff:ff:ff:ff:ff:ff");
  h.reply(offer, ip_of(7));
  EXPECT_EQ(h.messages(), lines{"request wants 7 from 254 broadcast"});
  EXPECT_FALSE(h.s->address());
  h.reply(ack, ip_of(7), option(51, be32(1000)));
  EXPECT_EQ(h.messages(), lines{announcement});
  auto events = h.events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, event_kind::address_configured);
  EXPECT_EQ(events[0].address, ip_of(7));
  EXPECT_EQ(events[0].gateway, server);
  EXPECT_EQ(events[0].prefix_length, 24);
  EXPECT_EQ(h.s->address()->address, ip_of(7));
  EXPECT_EQ(h.s->next_deadline(), h.now + seconds(500));
}

TEST(dhcp, replies_by_unicast_are_taken_before_there_is_an_address) {
  with_dhcp h;
  h.messages();
  h.reply(offer, ip_of(7), {}, ip_of(7));
  EXPECT_EQ(h.messages(), lines{"request wants 7 from 254 broadcast"});
  h.reply(ack, ip_of(7), option(51, be32(1000)), ip_of(7));
  EXPECT_TRUE(h.s->address());
}

TEST(dhcp, discover_is_repeated_with_doubling_pauses) {
  with_dhcp h;
  h.messages();
  int64_t expected = 4;
  for (int i = 0; i < 7; ++i) {
    const duration d = h.jump(seconds(1000));
    EXPECT_GE(d, seconds(expected - 1)) << i;
    EXPECT_LE(d, seconds(expected + 1)) << i;
    EXPECT_EQ(h.messages(), lines{"discover broadcast"});
    expected = std::min<int64_t>(expected * 2, 64);
  }
}

TEST(dhcp, unanswered_request_starts_again) {
  with_dhcp h;
  h.messages();
  h.reply(offer, ip_of(7));
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(h.messages(), lines{"request wants 7 from 254 broadcast"});
    h.jump(seconds(100));
  }
  EXPECT_EQ(h.messages(), lines{"discover broadcast"});
}

TEST(dhcp, nak_starts_again) {
  with_dhcp h;
  h.messages();
  h.reply(offer, ip_of(7));
  h.messages();
  h.reply(nak, {});
  EXPECT_EQ(h.messages(), lines{"discover broadcast"});
}

TEST(dhcp, lease_is_renewed_by_unicast_at_half_time) {
  with_dhcp h;
  h.bind();
  h.messages();
  h.events();
  EXPECT_EQ(h.jump(seconds(9999)), seconds(500));
  EXPECT_EQ(h.messages(), lines{"arp request 10.0.0.7 asks 10.0.0.254 to ff:ff:ff:ff:ff:ff"});
  h.in(ethernet(mac_of(1), mac_of(254), 0x0806, arp(2, mac_of(254), server, mac_of(1), ip_of(7))));
  EXPECT_EQ(h.messages(), lines{"request ciaddr 7 unicast"});
  h.reply(ack, ip_of(7), option(51, be32(1000)), ip_of(7));
  EXPECT_TRUE(h.events().empty());  // nothing has changed
  EXPECT_EQ(h.messages(), lines{});
  // The new lease counts from the new request.
  const instant renewed = h.now;
  while (h.now < renewed + seconds(499))
    h.jump(seconds(1000));
  EXPECT_EQ(h.now, renewed + seconds(500));
}

TEST(dhcp, silent_server_leads_to_rebinding_and_to_losing_the_address) {
  with_dhcp h;
  h.bind();
  h.messages();
  h.events();
  const instant bound = h.now;
  lines log;
  while (h.now < bound + seconds(1000)) {
    h.jump(seconds(1000));
    for (const auto& line : h.messages())
      if (line.starts_with("request") || line.starts_with("discover"))
        log.push_back(std::to_string((h.now - bound).ns / 1'000'000'000) + " " + line);
  }
  // Renewing: the server's ARP entry is not answered either, so nothing leaves. Rebinding from 7/8 on, by broadcast.
  EXPECT_EQ(log, (lines{"875 request ciaddr 7 broadcast", "937 request ciaddr 7 broadcast",
                        "997 request ciaddr 7 broadcast", "1000 discover broadcast"}));
  auto events = h.events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, event_kind::address_lost);
  EXPECT_FALSE(h.s->address());
}

TEST(dhcp, a_lost_address_takes_its_connections_with_it) {
  with_dhcp h;
  h.bind();
  h.messages();
  tcp::connection* c = *h.s->tcp().connect({}, {ip_of(2), 80}, nullptr, h.now);
  h.in(ethernet(mac_of(1), mac_of(2), 0x0806, arp(1, mac_of(2), ip_of(2), {}, ip_of(7))));
  h.messages();
  h.events();
  while (h.s->address()) {
    h.jump(seconds(1000));
    // The peer lives.
    h.in(ethernet(mac_of(1), mac_of(2), 0x0806, arp(1, mac_of(2), ip_of(2), {}, ip_of(7))));
    h.messages();
    if (h.s->tcp().error(c))
      break;
    h.s->tcp().release(c, h.now);
    c = *h.s->tcp().connect({}, {ip_of(2), 80}, nullptr, h.now);
  }
  EXPECT_FALSE(h.s->address());
  EXPECT_EQ(h.s->tcp().error(c), errc::connaborted);
  size_t failed = 0;
  for (const event& e : h.events())
    failed += e.kind == event_kind::connection && (e.bits & connection_failed);
  EXPECT_EQ(failed, 1u);
  h.s->tcp().release(c, h.now);
}

TEST(dhcp, another_server_may_answer_the_rebinding) {
  with_dhcp h;
  h.bind();
  h.events();
  while (h.messages() != lines{"request ciaddr 7 broadcast"})
    h.jump(seconds(1000));
  h.reply(ack, ip_of(7), option(51, be32(1000)), ip_of(7));
  EXPECT_TRUE(h.s->address());
  EXPECT_TRUE(h.events().empty());
  h.advance(seconds(499));
  h.messages();
  EXPECT_TRUE(h.s->address());
}

TEST(dhcp, strangers_replies_are_ignored) {
  with_dhcp h;
  h.messages();
  h.xid ^= 1;
  h.reply(offer, ip_of(7));
  EXPECT_EQ(h.messages(), lines{});
  h.xid ^= 1;
  h.reply(ack, ip_of(7));  // nothing was requested
  h.reply(offer, {});      // no address
  EXPECT_EQ(h.messages(), lines{});
  EXPECT_FALSE(h.s->address());
}

TEST(dhcp, an_answer_is_to_what_was_asked_and_from_who_was_asked) {
  with_dhcp h;
  h.messages();
  h.reply(offer, ip_of(7));
  h.messages();
  h.reply(ack, ip_of(8), option(51, be32(1000)));  // not what was offered
  h.from = ip_of(253);
  h.reply(ack, ip_of(7), option(51, be32(1000)));  // another server
  h.reply(nak, {});
  EXPECT_EQ(h.messages(), lines{});
  EXPECT_FALSE(h.s->address());
  h.from = server;
  h.reply(ack, ip_of(7), option(51, be32(1000)));
  ASSERT_TRUE(h.s->address());
  h.messages();
  h.events();
  // The same while renewing; in rebinding any server may answer, but about our address only.
  h.jump(seconds(500));
  h.from = ip_of(253);
  h.reply(nak, {}, {}, ip_of(7));
  h.from = server;
  h.reply(ack, ip_of(9), option(51, be32(1000)), ip_of(7));
  while (h.messages() != lines{"request ciaddr 7 broadcast"})
    h.jump(seconds(1000));
  h.from = ip_of(253);
  h.reply(ack, ip_of(9), option(51, be32(1000)), ip_of(7));
  EXPECT_TRUE(h.events().empty());
  EXPECT_EQ(h.s->address()->address, ip_of(7));
  h.reply(nak, {}, {}, ip_of(7));
  EXPECT_EQ(h.events().size(), 1u);
  EXPECT_FALSE(h.s->address());
}

TEST(dhcp, an_address_that_nobody_can_have_is_not_taken) {
  for (ipv4_address a : {ipv4_address::of(127, 0, 0, 1), ipv4_address::of(224, 0, 0, 1), ipv4_address::broadcast(),
                         ipv4_address::of(0, 0, 0, 9)}) {
    with_dhcp h;
    h.messages();
    h.reply(offer, a);
    EXPECT_EQ(h.messages(), lines{});
  }
}

// T1 and T2 that make no sense are as if they were not there: no storm of requests, no lease that is never renewed.
TEST(dhcp, renewal_times_that_make_no_sense_are_ignored) {
  const std::pair<uint32_t, uint32_t> wrong[] = {{0, 0},     {0, 875},    {1, 875},          {500, 500},
                                                 {900, 800}, {500, 1000}, {500, 0xffffffff}, {0xffffffff, 0xffffffff}};
  for (const auto& [t1, t2] : wrong) {
    SCOPED_TRACE(std::to_string(t1) + " " + std::to_string(t2));
    with_dhcp h;
    h.messages();
    h.reply(offer, ip_of(7));
    h.messages();
    const bytes times = option(51, be32(1000)) + option(58, be32(t1)) + option(59, be32(t2));
    h.reply(ack, ip_of(7), times);
    h.messages();
    const instant bound = h.now;
    EXPECT_EQ(h.s->next_deadline(), bound + seconds(500));
    h.advance(seconds(500));
    EXPECT_EQ(h.messages(), lines{"arp request 10.0.0.7 asks 10.0.0.254 to ff:ff:ff:ff:ff:ff"});
  }
  with_dhcp h;
  h.messages();
  h.reply(offer, ip_of(7));
  h.messages();
  h.reply(ack, ip_of(7), option(51, be32(1000)) + option(58, be32(100)) + option(59, be32(200)));
  h.messages();
  EXPECT_EQ(h.s->next_deadline(), h.now + seconds(100));
}

TEST(dhcp, a_lease_of_no_time_at_all_is_held_for_a_minute) {
  with_dhcp h;
  h.bind(0);
  h.messages();
  EXPECT_EQ(h.s->next_deadline(), h.now + seconds(30));
}

TEST(dhcp, infinite_lease_has_no_deadline) {
  with_dhcp h;
  h.bind(0xffffffff);
  h.messages();
  EXPECT_EQ(h.s->next_deadline(), instant::never());
}

TEST(dhcp, lease_goes_on_when_the_host_sets_its_address) {
  with_dhcp h;
  h.bind();
  h.messages();
  h.s->set_address({.address = ip_of(7), .prefix_length = 24, .gateway = server}, h.now);
  EXPECT_EQ(h.messages(), lines{});
  EXPECT_EQ(h.s->next_deadline(), h.now + seconds(500));
}

TEST(dhcp, static_address_ends_it) {
  with_dhcp h;
  h.messages();
  h.s->set_address({.address = ip_of(1)}, h.now);
  h.reply(offer, ip_of(7));
  h.advance(seconds(100));
  EXPECT_EQ(h.messages(), lines{"arp request 10.0.0.1 asks 10.0.0.1 to ff:ff:ff:ff:ff:ff"});
}

TEST(dhcp_wire, options_in_overloaded_fields_are_read) {
  bytes b = dhcp_reply_bytes(9, mac_of(1), ip_of(7), option(53, {offer}) + option(52, {3}) + bytes{255});
  const bytes in_file = option(54, be32(server.value)) + bytes{255}, in_sname = option(51, be32(77)) + bytes{255};
  std::copy(in_file.begin(), in_file.end(), b.begin() + 108);
  std::copy(in_sname.begin(), in_sname.end(), b.begin() + 44);
  const auto r = dhcp_reply::parse(reinterpret_cast<const std::byte*>(b.data()), uint32_t(b.size()));
  ASSERT_TRUE(r);
  EXPECT_EQ(r->server_id, server);
  EXPECT_EQ(r->lease_seconds, 77u);
}

TEST(dhcp_wire, cut_and_mutated_messages_do_no_harm) {
  const uint64_t seed = 3;
  prng random(seed);
  const bytes good = dhcp_reply_bytes(
      9, mac_of(1), ip_of(7),
      option(53, {ack}) + option(52, {3}) + option(51, be32(5)) + option(1, {255, 0, 0, 0}) + bytes{255});
  for (int i = 0; i < 20000; ++i) {
    bytes b(good.begin(), good.begin() + long(random.below(good.size() + 1)));
    b.shrink_to_fit();
    for (uint64_t n = random.below(4); n-- > 0 && !b.empty();)
      b[random.below(b.size())] = uint8_t(random.next());
    (void)dhcp_reply::parse(reinterpret_cast<const std::byte*>(b.data()), uint32_t(b.size()));
  }
}

}  // namespace
}  // namespace solaster::net

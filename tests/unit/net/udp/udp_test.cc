#include "net/wire/udp.hh"

#include <gtest/gtest.h>
#include <netinet/udp.h>

#include <set>
#include <vector>

#include "tests/unit/net/support/stack_host.hh"

namespace solaster::net {
namespace {

using namespace testing;

static_assert(udp_header_size == sizeof(udphdr) && udp_checksum_offset == offsetof(udphdr, uh_sum));

packet_ptr payload(stack_host& h, const std::string& s) {
  packet_ptr p = h.slab.make();
  p->append(copy_to_heap(h.memory_, reinterpret_cast<const std::byte*>(s.data()), uint32_t(s.size())));
  return p;
}
std::string content(const packet& p) {
  std::string s(p.size(), 0);
  copy_out(p, 0, reinterpret_cast<std::byte*>(s.data()), p.size());
  return s;
}

TEST(udp, datagram_comes_up_with_its_addresses) {
  stack_host h;
  udp_socket* s = *h.s->udp_open({{}, 1000}, &h, h.now);
  for (size_t n : {0, 5, 1472}) {
    const std::string data(n, 'x');
    h.in_ip(ip(ip_of(2), ip_of(1), 17, udp(ip_of(2), 777, ip_of(1), 1000, text(data))));
    auto events = h.events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].kind, event_kind::udp);
    EXPECT_EQ(events[0].cookie, &h);
    auto d = h.s->udp_receive(s);
    ASSERT_TRUE(d);
    EXPECT_EQ(d->remote, (endpoint{ip_of(2), 777}));
    EXPECT_EQ(d->local, (endpoint{ip_of(1), 1000}));
    EXPECT_EQ(content(*d->payload), data);
    EXPECT_EQ(h.s->udp_receive(s).error(), errc::again);
  }
}

TEST(udp, small_payload_does_not_pin_its_frame) {
  stack_host h;
  udp_socket* s = *h.s->udp_open({{}, 1000}, nullptr, h.now);
  h.in_ip(ip(ip_of(2), ip_of(1), 17, udp(ip_of(2), 777, ip_of(1), 1000, text("abc"))) + bytes(500));
  auto d = h.s->udp_receive(s);
  EXPECT_LE(d->payload->charge(), 100u);
  EXPECT_EQ(h.s->stats().copied_bytes, 3u);
}

TEST(udp, lies_and_bad_sums_are_dropped) {
  stack_host h;
  ASSERT_TRUE(h.s->udp_open({{}, 1000}, nullptr, h.now));
  const bytes good = udp(ip_of(2), 777, ip_of(1), 1000, text("hello"));
  for (uint8_t length : {0, 7, 14}) {
    bytes b = good;
    b[5] = length;
    h.in_ip(ip(ip_of(2), ip_of(1), 17, b));
  }
  h.in_ip(ip(ip_of(2), ip_of(1), 17, bytes(7)));
  EXPECT_EQ(h.drops(drop_reason::udp_malformed), 4u);
  bytes b = good;
  b[10] ^= 4;
  h.in_ip(ip(ip_of(2), ip_of(1), 17, b));
  EXPECT_EQ(h.drops(drop_reason::udp_checksum), 1u);
  EXPECT_TRUE(h.events().empty());
  // Checked by the device already; or none at all.
  packet_ptr p = h.make(ethernet(mac_of(1), mac_of(2), 0x0800, ip(ip_of(2), ip_of(1), 17, b)));
  p->offload.checksum = checksum_state::valid;
  h.in(std::move(p));
  b[6] = b[7] = 0;
  h.in_ip(ip(ip_of(2), ip_of(1), 17, b));
  EXPECT_EQ(h.events().size(), 1u);  // gathered
}

TEST(udp, queue_is_bounded_in_bytes) {
  auto c = stack_host::default_config();
  c.udp_receive_bytes_max = 10'000;
  stack_host h(c);
  udp_socket* s = *h.s->udp_open({{}, 1000}, nullptr, h.now);
  for (int i = 0; i < 100; ++i)
    h.in_ip(ip(ip_of(2), ip_of(1), 17, udp(ip_of(2), 777, ip_of(1), 1000, bytes(1000))));
  size_t n = 0;
  while (h.s->udp_receive(s))
    ++n;
  EXPECT_LT(n, 10u);
  EXPECT_GE(n, 8u);
  EXPECT_EQ(h.drops(drop_reason::udp_buffer_full), 100 - n);
}

TEST(udp, sends_with_a_right_checksum_or_leaves_it_to_the_device) {
  stack_host h;
  h.know_peer();
  udp_socket* s = *h.s->udp_open({{}, 1000}, nullptr, h.now);
  ASSERT_TRUE(h.s->udp_send(s, {{}, {ip_of(2), 9}, payload(h, "abcde")}, h.now));
  EXPECT_EQ(h.sent(), lines{"udp 10.0.0.1:1000 > 10.0.0.2:9 len 5 to 52:54:00:00:00:02"});
  h.s->set_interface({.mac = mac_of(1), .tx_checksum = true});
  h.offloads.clear();
  ASSERT_TRUE(h.s->udp_send(s, {{}, {ip_of(2), 9}, payload(h, "abcde")}, h.now));
  h.sent();
  ASSERT_EQ(h.offloads.size(), 1u);
  EXPECT_EQ(h.offloads[0].checksum, checksum_state::partial);
  EXPECT_EQ(h.offloads[0].checksum_start, 34);
  EXPECT_EQ(h.offloads[0].checksum_offset, 6);
  // What the device does: the sum from checksum_start on, complemented, into the field.
  bytes f = h.frames[0];
  const bytes t(f.begin() + 34, f.end());
  const uint16_t sum = sum_of(t);
  f[40] = uint8_t(sum >> 8), f[41] = uint8_t(sum);
  EXPECT_EQ(describe(f), "udp 10.0.0.1:1000 > 10.0.0.2:9 len 5 to 52:54:00:00:00:02");
}

TEST(udp, payload_in_shared_memory_is_not_written_to) {
  stack_host h;
  h.know_peer();
  udp_socket* s = *h.s->udp_open({{}, 1000}, nullptr, h.now);
  fragment whole = copy_to_heap(
      h.memory_,
      reinterpret_cast<const std::byte*>("0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"),
      72);
  packet_ptr p = h.slab.make();
  p->append(whole.share(60, 4));
  ASSERT_TRUE(h.s->udp_send(s, {{}, {ip_of(2), 9}, std::move(p)}, h.now));
  h.sent();
  EXPECT_EQ(memcmp(whole.data(), "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz", 72), 0);
  EXPECT_EQ(memcmp(h.frames[0].data() + 42, "opqr", 4), 0);
}

TEST(udp, commands_that_cannot_be_done_say_why) {
  stack_host h;
  udp_socket* s = *h.s->udp_open({{}, 1000}, nullptr, h.now);
  EXPECT_EQ(h.s->udp_open({{}, 1000}, nullptr, h.now).error(), errc::addrinuse);
  EXPECT_EQ(h.s->udp_open({ip_of(1), 1000}, nullptr, h.now).error(), errc::addrinuse);
  EXPECT_EQ(h.s->udp_open({ip_of(9), 1001}, nullptr, h.now).error(), errc::addrnotavail);
  EXPECT_EQ(h.s->udp_send(s, {{}, {ip_of(2), 9}, payload(h, std::string(1473, 'x'))}, h.now).error(), errc::msgsize);
  EXPECT_EQ(h.s->udp_send(s, {{}, {ipv4_address::of(224, 0, 0, 1), 9}, nullptr}, h.now).error(), errc::netunreach);
  EXPECT_EQ(h.s->udp_send(s, {{ip_of(9), 0}, {ip_of(2), 9}, nullptr}, h.now).error(), errc::addrnotavail);
  EXPECT_EQ(h.s->udp_send(s, {{}, {ip_of(2), 0}, nullptr}, h.now).error(), errc::inval);
  udp_socket* chosen = *h.s->udp_open({}, nullptr, h.now);
  EXPECT_GE(h.s->udp_local(chosen).port, 32768);
  h.s->udp_close(s, h.now);
  EXPECT_TRUE(h.s->udp_open({{}, 1000}, nullptr, h.now));
}

TEST(udp, sockets_and_their_ports_run_out) {
  auto c = stack_host::default_config();
  c.udp_sockets_max = 5;
  c.ephemeral_port_min = 40000;
  c.ephemeral_port_max = 40002;
  stack_host h(c);
  std::vector<udp_socket*> open;
  std::set<uint16_t> ports;
  for (int i = 0; i < 3; ++i) {
    open.push_back(*h.s->udp_open({}, nullptr, h.now));
    ports.insert(h.s->udp_local(open.back()).port);
  }
  EXPECT_EQ(ports, (std::set<uint16_t>{40000, 40001, 40002}));
  EXPECT_EQ(h.s->udp_open({}, nullptr, h.now).error(), errc::addrinuse);
  ASSERT_TRUE(h.s->udp_open({{}, 1}, nullptr, h.now));
  ASSERT_TRUE(h.s->udp_open({{}, 2}, nullptr, h.now));
  EXPECT_EQ(h.s->udp_open({{}, 3}, nullptr, h.now).error(), errc::nobufs);
  h.s->udp_close(open[1], h.now);
  EXPECT_TRUE(h.s->udp_open({}, nullptr, h.now));
  EXPECT_TRUE(h.s->is_valid());
}

TEST(udp, full_device_pushes_back) {
  auto c = stack_host::default_config();
  c.transmit_queue_max = 4;
  stack_host h(c);
  h.know_peer();
  udp_socket* s = *h.s->udp_open({{}, 1000}, nullptr, h.now);
  for (int i = 0; i < 4; ++i)
    ASSERT_TRUE(h.s->udp_send(s, {{}, {ip_of(2), 9}, nullptr}, h.now));
  EXPECT_EQ(h.s->udp_send(s, {{}, {ip_of(2), 9}, nullptr}, h.now).error(), errc::again);
  h.room = 1;
  EXPECT_EQ(h.sent().size(), 1u);
  EXPECT_TRUE(h.s->udp_send(s, {{}, {ip_of(2), 9}, nullptr}, h.now));
}

TEST(udp, broadcast_goes_to_everyone) {
  stack_host h;
  udp_socket* s = *h.s->udp_open({{}, 1000}, nullptr, h.now);
  ASSERT_TRUE(h.s->udp_send(s, {{}, {ip_of(255), 9}, payload(h, "x")}, h.now));
  EXPECT_EQ(h.sent(), lines{"udp 10.0.0.1:1000 > 10.0.0.255:9 len 1 to ff:ff:ff:ff:ff:ff"});
}

}  // namespace
}  // namespace solaster::net

// The way in: frames whose fragments end where headers end.
#include <gtest/gtest.h>

#include "tests/unit/net/support/stack_host.hh"

namespace solaster::net {
namespace {

using namespace testing;

// A SYN to port 80 with 40 bytes of options, the last of which is the window scale.
bytes syn_with_options(const bytes& payload) {
  bytes b = tcp_segment(ip_of(2), 5000, ip_of(1), 80, 1, 0, 2, bytes(37, 1) + bytes{3, 3, 7} + payload);
  b[12] = 0xf0;
  b[16] = b[17] = 0;
  const bytes pseudo = be32(ip_of(2).value) + be32(ip_of(1).value) + bytes{0, 6} + be16(uint16_t(b.size()));
  const uint16_t sum = sum_of(pseudo + b);
  b[16] = uint8_t(sum >> 8), b[17] = uint8_t(sum);
  return ethernet(mac_of(1), mac_of(2), 0x0800, ip(ip_of(2), ip_of(1), 6, b, {.options = bytes(40, 1)}));
}

// We offer window scaling only to who has offered it.
bool answered_with_window_scale(stack_host& h) {
  EXPECT_EQ(h.sent().size(), 1u);
  if (h.frames.empty())
    return false;
  const bytes& f = h.frames[0];
  const bytes scale{3, 3};
  const bytes options(f.begin() + 54, f.begin() + 34 + (f[46] >> 4) * 4);
  return std::search(options.begin(), options.end(), scale.begin(), scale.end()) != options.end();
}

// Removing the TCP header lets go of a fragment that ends with it, and with it of the options.
TEST(receive, options_are_read_before_their_fragment_goes) {
  for (const bytes& payload : {text("data that came with the SYN"), bytes{}}) {
    stack_host h;
    h.know_peer();
    (void)*h.s->tcp().listen({{}, 80}, 8, nullptr, h.now);
    const bytes f = syn_with_options(payload);
    h.in(f, {134});  // Ethernet 14, IP 60, TCP 60: without payload an empty fragment follows
    EXPECT_TRUE(answered_with_window_scale(h)) << payload.size();
  }
}

// An error quotes the IP header, also where the packet's first fragment ends with it and an empty one follows.
TEST(receive, a_header_at_the_end_of_its_fragment_is_quoted) {
  stack_host h;
  h.know_peer();
  const bytes f = ethernet(mac_of(1), mac_of(2), 0x0800, ip(ip_of(2), ip_of(1), 99, {}));
  ASSERT_EQ(f.size(), 34u);
  h.in(f, {34});
  EXPECT_EQ(h.sent(), lines{"icmp 3/2 10.0.0.1 > 10.0.0.2 len 20 to 52:54:00:00:00:02"});
}

}  // namespace
}  // namespace solaster::net

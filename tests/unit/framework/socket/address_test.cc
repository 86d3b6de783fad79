#include "framework/socket/address.hh"

#include <gtest/gtest.h>

namespace solaster {
namespace {

TEST(ipv4_addr, parses_what_it_prints) {
  auto a = ipv4_addr::parse("10.1.2.255:11211");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->ip, 0x0a0102ffu);
  EXPECT_EQ(a->port, 11211);
  EXPECT_EQ(to_string(*a), "10.1.2.255:11211");
  EXPECT_EQ(ipv4_addr::parse("0.0.0.0", 80), ipv4_addr(0, 80));
}

TEST(ipv4_addr, refuses_everything_else) {
  for (auto text : {"", "1.2.3", "1.2.3.256", "1.2.3.4.5", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:1x", " 1.2.3.4",
                    "1..2.3", "localhost", "1.2.3.4 ", "-1.2.3.4"}) {
    EXPECT_FALSE(ipv4_addr::parse(text)) << text;
  }
}

}  // namespace
}  // namespace solaster

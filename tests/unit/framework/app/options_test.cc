#include "framework/log/options.hh"
#include "framework/base/option_error.hh"
#include "framework/log/log.hh"
#include "framework/reactor/options.hh"
#include "framework/socket/options.hh"

#include <gtest/gtest.h>
#include <boost/program_options.hpp>

using namespace solaster;

TEST(options, sizes_are_read_with_their_units) {
  EXPECT_EQ(parse_size("123"), 123u);
  EXPECT_EQ(parse_size("64M"), 64u << 20);
  EXPECT_EQ(parse_size("1GiB"), 1u << 30);
  EXPECT_EQ(parse_size("2kB"), 2048u);
  for (const char* bad : {"", "M", "0", "-1", "1X", "1MM", "99999999999T", "1 M"}) {
    EXPECT_THROW(parse_size(bad), option_error) << bad;
  }
}

TEST(options, cpu_lists_are_read_and_sorted) {
  EXPECT_EQ(parse_cpuset("0-3,8"), (std::vector<unsigned>{0, 1, 2, 3, 8}));
  EXPECT_EQ(parse_cpuset("2,1,1"), (std::vector<unsigned>{1, 2}));
  for (const char* bad : {"", "a", "1-", "-1", "3-1", "1,,2", "1;2", "99999"}) {
    EXPECT_THROW(parse_cpuset(bad), option_error) << bad;
  }
}

TEST(options, log_levels_have_names) {
  log_level l;
  EXPECT_TRUE(parse_log_level("debug", l));
  EXPECT_EQ(l, log_level::debug);
  EXPECT_EQ(to_string(log_level::warn), "warn");
  EXPECT_FALSE(parse_log_level("loud", l));
}

TEST(log, a_level_asked_for_by_name_holds_for_loggers_made_later) {
  EXPECT_FALSE(logger::set_level_of("not-made-yet", log_level::trace));
  logger late("not-made-yet");
  EXPECT_EQ(late.level(), log_level::trace);
  EXPECT_TRUE(late.is_enabled(log_level::debug));
  EXPECT_TRUE(logger::set_level_of("not-made-yet", log_level::error));
  EXPECT_FALSE(late.is_enabled(log_level::warn));
}

namespace {

// What reading this command line complains of; empty: nothing.
std::string complaint(std::vector<const char*> words) {
  namespace bpo = boost::program_options;
  bpo::options_description d;
  describe_engine_options(d);
  describe_network_options(d);
  describe_log_options(d, "warn");
  words.insert(words.begin(), "program");
  bpo::variables_map vm;
  bpo::store(bpo::parse_command_line(int(words.size()), words.data(), d), vm);
  bpo::notify(vm);
  try {
    read_log_options(vm);
    read_engine_options(vm);
    read_network_options(vm);
  } catch (const option_error& e) {
    return e.what();
  }
  return "";
}

logger known_logger("known-to-the-options-test");

}  // namespace

TEST(options, a_level_for_a_logger_that_is_not_there_is_refused_with_the_names_there_are) {
  std::string text = complaint({"--logger-log-level", "nosuch=debug"});
  EXPECT_NE(text.find("no logger named nosuch; there are: "), std::string::npos) << text;
  EXPECT_NE(text.find("known-to-the-options-test"), std::string::npos) << text;
  EXPECT_EQ(complaint({"--logger-log-level", "known-to-the-options-test=error"}), "");
  EXPECT_EQ(known_logger.level(), log_level::error);
}

TEST(options, what_only_the_native_stack_understands_is_refused_without_it) {
  EXPECT_EQ(complaint({"--pcap", "file"}),
            "--pcap is for the native network stack; add --network-stack native --tap NAME");
  EXPECT_EQ(complaint({"--tap", "tap0"}), "--tap is for the native network stack; add --network-stack native");
  for (const char* name : {"--host-ipv4-addr", "--netmask-ipv4-addr", "--gw-ipv4-addr"}) {
    EXPECT_NE(complaint({name, "10.0.0.1"}), "") << name;
    EXPECT_NE(complaint({name, "10.0.0.1", "--network-stack", "posix"}), "") << name;
  }
  EXPECT_NE(complaint({"--dhcp", "1"}), "");
  EXPECT_EQ(complaint({"--network-stack", "native", "--tap", "tap0", "--pcap", "file"}), "");
}

TEST(options, a_mask_or_a_gateway_without_an_address_is_refused) {
  EXPECT_NE(complaint({"--network-stack", "native", "--tap", "t", "--gw-ipv4-addr", "10.0.0.1"}), "");
  EXPECT_EQ(complaint({"--network-stack", "native", "--tap", "t", "--gw-ipv4-addr", "10.0.0.1", "--host-ipv4-addr",
                       "10.0.0.2"}),
            "");
}

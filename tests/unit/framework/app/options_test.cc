#include "framework/app/options_parser.hh"

#include "framework/app/log.hh"

#include <gtest/gtest.h>

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

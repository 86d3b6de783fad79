// How long an idle shard polls, in virtual time.
#include "framework/reactor/idle_polling.hh"

#include <gtest/gtest.h>

using namespace solaster;

namespace {

constexpr int64_t us = 1'000;

// A shard that is idle from `now` on until something comes after `gap`: polls, then sleeps. Returns how long it polled.
int64_t wait_for(idle_polling& p, int64_t& now, int64_t gap, bool is_deadline = false) {
  int64_t begin = now, end = now + gap;
  while (now < end) {
    if (p.is_over(now) || !p.poll_on(now)) {
      (void)p.poll_on(now);
      int64_t polled = now - begin;
      now = end;
      p.slept(now, !is_deadline);
      return polled;
    }
    now += us;
  }
  p.found_work(now);
  return now - begin;
}

}  // namespace

TEST(idle_polling, who_is_called_soon_polls_and_who_is_not_learns_to_sleep) {
  idle_polling p({}, microseconds(200));
  int64_t now = 1'000'000;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(wait_for(p, now, 20 * us), 20 * us);
  }
  int64_t polled = 0;
  for (int i = 0; i < 10; ++i) {
    polled += wait_for(p, now, 10'000 * us, true);
    EXPECT_TRUE(p.is_valid());
  }
  EXPECT_EQ(p.window_ns(), 0);
  EXPECT_LE(polled, 500 * us);
  for (int i = 0; i < 1000; ++i) {
    polled += wait_for(p, now, 1'000 * us);
  }
  EXPECT_LE(polled, 500 * us);  // woken each millisecond: polling for it would not have been worth the while
}

TEST(idle_polling, one_early_wake_is_enough_to_poll_again) {
  idle_polling p({}, microseconds(200));
  int64_t now = 1'000'000;
  for (int i = 0; i < 10; ++i) {
    (void)wait_for(p, now, 10'000 * us);
  }
  EXPECT_EQ(p.window_ns(), 0);
  EXPECT_EQ(wait_for(p, now, 30 * us), 0);
  EXPECT_EQ(wait_for(p, now, 30 * us), 30 * us);
  EXPECT_EQ(wait_for(p, now, 60 * us), 60 * us);
  EXPECT_LE(p.window_ns(), 200 * us);
}

TEST(idle_polling, does_not_poll_where_the_cpu_is_taken_away) {
  idle_polling p({}, microseconds(200));
  int64_t now = 1'000'000;
  EXPECT_TRUE(p.poll_on(now));
  now += 3'000 * us;  // somebody else ran
  EXPECT_FALSE(p.poll_on(now));
  p.slept(now, true);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(wait_for(p, now, 30 * us), 0);
  }
  now += 30'000 * us;
  (void)wait_for(p, now, 30 * us);
  EXPECT_EQ(wait_for(p, now, 30 * us), 30 * us);
}

TEST(idle_polling, a_fixed_time_stays) {
  idle_polling p(microseconds(5), microseconds(5));
  int64_t now = 1'000'000;
  for (int64_t gap : {2, 100, 10'000, 10'000, 3}) {
    (void)wait_for(p, now, gap * us);
    EXPECT_EQ(p.window_ns(), 5 * us);
  }
}

// timer_set against a sorted list, with time handed in.
#include "framework/reactor/timer.hh"

#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <random>
#include <vector>

using namespace solaster;

namespace {

// Armed by hand in a set of the test's own.
struct test_timer : timer_base {
  explicit test_timer(callback_type cb) : timer_base(std::move(cb)) {}
  void arm(timer_set& s, int64_t deadline, int64_t period = 0) {
    cancel();
    arm_in(s, instant{deadline}, duration{period});
  }
};

}  // namespace

TEST(timer_set, expires_in_time_and_not_before) {
  timer_set set;
  int fired = 0;
  test_timer t([&] { ++fired; });
  t.arm(set, 1000);
  EXPECT_EQ(set.next_deadline().ns, 1000);
  EXPECT_FALSE(set.is_due(999));
  EXPECT_EQ(set.expire({999}), 0u);
  EXPECT_EQ(set.expire({1000}), 1u);
  EXPECT_EQ(fired, 1);
  EXPECT_FALSE(t.armed());
  EXPECT_EQ(set.next_deadline(), instant::never());
}

TEST(timer_set, cancelled_timers_do_not_fire_and_move_the_deadline) {
  timer_set set;
  test_timer a([] { FAIL(); }), b([] {});
  a.arm(set, 10);
  b.arm(set, 500);
  EXPECT_TRUE(a.cancel());
  EXPECT_FALSE(a.cancel());
  EXPECT_EQ(set.next_deadline().ns, 500);
  EXPECT_EQ(set.expire({20}), 0u);
  EXPECT_EQ(set.expire({501}), 1u);
}

TEST(timer_set, periodic_timers_go_on_and_skip_what_was_missed) {
  timer_set set;
  int fired = 0;
  test_timer t([&] { ++fired; });
  t.arm(set, 100, 100);
  set.expire({100});
  set.expire({200});
  EXPECT_EQ(fired, 2);
  set.expire({1050});
  EXPECT_EQ(fired, 3);
  EXPECT_EQ(set.next_deadline().ns, 1150);
  t.cancel();
}

TEST(timer_set, callback_may_cancel_and_arm_others_that_are_due) {
  timer_set set;
  int fired = 0;
  test_timer b([&] { ++fired; });
  test_timer c([&] { ++fired; });
  test_timer a([&] {
    b.cancel();
    c.arm(set, 1000);
  });
  a.arm(set, 5);
  b.arm(set, 6);
  c.arm(set, 6);
  EXPECT_EQ(set.expire({10}), 1u);
  EXPECT_EQ(fired, 0);
  EXPECT_EQ(set.expire({1000}), 1u);
  EXPECT_EQ(fired, 1);
}

TEST(timer_set, granularity_rounds_deadlines_up) {
  timer_set set{milliseconds(10)};
  test_timer t([] {});
  t.arm(set, 10'000'001);
  EXPECT_EQ(set.next_deadline().ns, 20'000'000);
  t.arm(set, 20'000'000);
  EXPECT_EQ(set.next_deadline().ns, 20'000'000);
  t.cancel();
}

TEST(timer_set, agrees_with_a_sorted_list_over_a_random_run) {
  uint64_t seed = 12345;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  timer_set set;
  std::multimap<int64_t, int> model;
  std::vector<std::unique_ptr<test_timer>> timers;
  std::vector<int64_t> deadline(200, -1);
  std::vector<int> fired;
  for (int i = 0; i < 200; ++i) {
    timers.push_back(std::make_unique<test_timer>([&fired, i] { fired.push_back(i); }));
  }
  int64_t now = 0;
  for (int step = 0; step < 20000; ++step) {
    size_t i = random() % timers.size();
    switch (random() % 3) {
      case 0:
        deadline[i] = now + int64_t(random() % (uint64_t(1) << (random() % 40)));
        timers[i]->arm(set, deadline[i]);
        break;
      case 1:
        timers[i]->cancel();
        deadline[i] = -1;
        break;
      default:
        now += int64_t(random() % (uint64_t(1) << (random() % 30)));
        fired.clear();
        set.expire({now});
        for (int f : fired) {
          EXPECT_GE(now, deadline[size_t(f)]);
          EXPECT_GE(deadline[size_t(f)], 0);
          deadline[size_t(f)] = -1;
        }
        int64_t first = INT64_MAX;
        for (int64_t d : deadline) {
          EXPECT_TRUE(d < 0 || d > now) << "a timer is late";
          first = d >= 0 ? std::min(first, d) : first;
        }
        ASSERT_EQ(set.next_deadline().ns, first);
    }
    ASSERT_TRUE(set.is_valid()) << "step " << step;
  }
}

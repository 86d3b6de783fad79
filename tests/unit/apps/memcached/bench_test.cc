// What mcbench measures with: its histogram against sorting, its checker against right, wrong and cut answers.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "apps/memcached/bench/histogram.hh"
#include "apps/memcached/bench/workload.hh"

namespace solaster::mcbench {
namespace {

TEST(histogram, quantiles_are_within_a_thirty_second_of_the_sorted_values) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  histogram h;
  std::vector<uint64_t> all;
  for (int i = 0; i < 100'000; ++i) {
    uint64_t v = random() >> (24 + random() % 40);
    all.push_back(v);
    h.record(int64_t(v));
  }
  std::sort(all.begin(), all.end());
  for (double q : {0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    uint64_t exact = all[std::max<size_t>(1, size_t(q * double(all.size()) + 0.5)) - 1];
    EXPECT_GE(h.quantile(q), exact) << q;
    EXPECT_LE(double(h.quantile(q)), double(exact) * 33 / 32 + 1) << q;
  }
  EXPECT_EQ(h.max(), all.back());
  EXPECT_EQ(h.min(), all.front());
}

TEST(histogram, sums_add_up) {
  histogram a, b;
  a.record(10);
  b.record(30);
  a += b;
  EXPECT_EQ(a.count(), 2u);
  EXPECT_DOUBLE_EQ(a.mean(), 20);
  EXPECT_EQ(a.quantile(0.5), 10u);
}

TEST(checker, accepts_the_right_answers_and_nothing_else) {
  workload w({.keys = 100, .value_min = 10, .value_max = 50});
  answer_checker c(w);
  using verdict = answer_checker::verdict;
  std::string right =
      "VALUE key:7 0 " + std::to_string(w.value(7).size()) + "\r\n" + std::string(w.value(7)) + "\r\nEND\r\n";
  for (size_t cut = 0; cut < right.size(); ++cut) {
    EXPECT_EQ(c.check({7, true}, right.substr(0, cut)).what, verdict::incomplete) << cut;
  }
  auto whole = c.check({7, true}, right + "STORED\r\n");
  EXPECT_EQ(whole.what, verdict::hit);
  EXPECT_EQ(whole.consumed, right.size());
  EXPECT_EQ(c.check({8, true}, right).what, verdict::wrong_value);
  std::string wrong = right;
  wrong[right.size() - 10] ^= 1;
  EXPECT_EQ(c.check({7, true}, wrong).what, verdict::wrong_value);
  EXPECT_EQ(c.check({7, true}, "END\r\n").what, verdict::miss);
  EXPECT_EQ(c.check({7, false}, "STORED\r\n").what, verdict::stored);
  EXPECT_EQ(c.check({7, false}, "SERVER_ERROR out of memory\r\n").what, verdict::error);
  EXPECT_EQ(c.check({7, true}, "ERROR\r\n").what, verdict::error);
}

TEST(workload, two_processes_agree_on_every_value) {
  workload a({.keys = 1000, .value_min = 1, .value_max = 300, .seed = 1}),
      b({.keys = 5, .value_min = 1, .value_max = 300, .seed = 9});
  for (uint64_t key = 0; key < 1000; ++key) {
    EXPECT_EQ(a.value(key), b.value(key));
    EXPECT_GE(a.value(key).size(), 1u);
    EXPECT_LE(a.value(key).size(), 300u);
  }
}

}  // namespace
}  // namespace solaster::mcbench

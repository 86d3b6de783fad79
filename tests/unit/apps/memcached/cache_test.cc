// The cache of one shard: budget, eviction, expiry, growth, against a plain map where that says the same.
#include "apps/memcached/cache.hh"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace solaster::memcached {
namespace {

constexpr hash_seed seed{1, 2};
constexpr clock_seconds start{.steady = 1000, .wall = 1'700'000'000};

// Both clocks so many seconds on.
constexpr clock_seconds after(int64_t seconds) {
  return {start.steady + seconds, start.wall + seconds};
}

store_outcome put(cache& c, const std::string& key, const std::string& value, uint32_t exptime = 0) {
  auto made = c.allocate(key, hash_key(key, seed), 0, exptime, value.size());
  if (!std::holds_alternative<item*>(made))
    return store_outcome::no_memory;
  item* i = std::get<item*>(made);
  std::copy(value.begin(), value.end(), i->value());
  return c.store(i, store_mode::set, 0);
}
item* look(cache& c, const std::string& key) {
  return c.get(key, hash_key(key, seed));
}

TEST(cache, stays_within_its_budget_and_evicts_what_was_not_read) {
  cache c({.bytes_max = 1 << 20}, start);
  std::string value(1000, 'v');
  put(c, "hot", value);
  for (int i = 0; i < 5000; ++i) {
    ASSERT_NE(look(c, "hot"), nullptr) << i;
    ASSERT_EQ(put(c, "k" + std::to_string(i), value), store_outcome::stored);
    ASSERT_LE(c.bytes_used(), 1u << 20);
  }
  EXPECT_GT(c.stats().evictions, 3000u);
  EXPECT_EQ(look(c, "k0"), nullptr);
  EXPECT_NE(look(c, "k4999"), nullptr);
  EXPECT_TRUE(c.is_valid());
}

TEST(cache, without_eviction_a_full_cache_refuses_and_takes_again_after_expiry) {
  cache c({.bytes_max = 1 << 16, .evict = false}, start);
  std::string value(1000, 'v');
  int stored = 0;
  while (put(c, "k" + std::to_string(stored), value, 10) == store_outcome::stored)
    ++stored;
  EXPECT_GT(stored, 20);
  EXPECT_EQ(c.stats().evictions, 0u);
  c.tick(after(20));
  EXPECT_EQ(put(c, "again", value), store_outcome::stored);
}

TEST(cache, the_crawler_frees_expired_items_nobody_asks_for) {
  cache c({.bytes_max = 8 << 20}, start);
  for (int i = 0; i < 10000; ++i)
    put(c, "k" + std::to_string(i), "v", 5);
  for (int second = 0; second < 130; ++second)
    c.tick(after(second));
  EXPECT_EQ(c.item_count(), 0u);
  EXPECT_EQ(c.stats().crawler_reclaimed, 10000u);
  EXPECT_EQ(c.bytes_used(), 0u);
}

TEST(cache, a_held_item_survives_its_removal) {
  cache c({.bytes_max = 1 << 20}, start);
  put(c, "a", "value");
  item* held = look(c, "a");
  c.hold(held);
  EXPECT_TRUE(c.remove("a", hash_key("a", seed)));
  EXPECT_EQ(held->value_view(), "value");
  EXPECT_GT(c.bytes_used(), 0u);
  c.release(held);
  EXPECT_EQ(c.bytes_used(), 0u);
}

TEST(cache, arithmetic_does_not_change_an_item_that_is_being_sent) {
  cache c({.bytes_max = 1 << 20}, start);
  put(c, "n", "100");
  item* held = look(c, "n");
  c.hold(held);
  uint64_t value = 0;
  EXPECT_EQ(c.arithmetic("n", hash_key("n", seed), true, 1, &value), arithmetic_outcome::ok);
  EXPECT_EQ(value, 101u);
  EXPECT_EQ(held->value_view(), "100");
  EXPECT_EQ(look(c, "n")->value_view(), "101");
  c.release(held);
}

TEST(cache, a_large_item_evicts_as_many_small_ones_as_it_needs) {
  cache c({.bytes_max = 4 << 20}, start);
  for (int i = 0; i < 60'000; ++i)
    ASSERT_EQ(put(c, "k" + std::to_string(i), "0123456789"), store_outcome::stored);
  EXPECT_GT(c.stats().evictions, 0u);
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(put(c, "big" + std::to_string(i), std::string(500'000, 'v')), store_outcome::stored) << i;
  EXPECT_LE(c.bytes_used(), 4u << 20);
  EXPECT_NE(look(c, "big7"), nullptr);
  EXPECT_TRUE(c.is_valid());
}

TEST(cache, what_cannot_fit_beside_lent_items_evicts_nothing) {
  cache c({.bytes_max = 1 << 20}, start);
  std::vector<temporary_buffer<char>> lent;
  for (int i = 0; i < 4; ++i) {
    put(c, "big", std::string(200'000, 'v'));
    lent.push_back(c.lend(look(c, "big"), 0));
  }
  c.remove("big", hash_key("big", seed));
  put(c, "small", "v");
  EXPECT_EQ(put(c, "more", std::string(400'000, 'v')), store_outcome::no_memory);
  EXPECT_NE(look(c, "small"), nullptr) << "it was evicted for nothing";
  lent.clear();
  EXPECT_EQ(put(c, "more", std::string(400'000, 'v')), store_outcome::stored);
  EXPECT_TRUE(c.is_valid());
}

TEST(cache, a_lent_item_outlives_its_removal_and_the_cache) {
  temporary_buffer<char> lent, other;
  {
    cache c({.bytes_max = 1 << 20}, start);
    put(c, "a", "value");
    put(c, "b", "another");
    lent = c.lend(look(c, "a"), 0);
    other = c.lend(look(c, "b"), 0);
    EXPECT_TRUE(c.remove("a", hash_key("a", seed)));
  }
  EXPECT_EQ(lent.view(), "a 0 5\r\nvalue\r\n");
  lent = {};
  EXPECT_EQ(other.view(), "b 0 7\r\nanother\r\n");
}

TEST(cache, a_wall_clock_that_is_set_back_keeps_nothing_alive) {
  cache c({.bytes_max = 1 << 20}, start);
  constexpr int64_t hours = 3600;
  put(c, "relative", "v", c.expiry_from_protocol(2));
  put(c, "absolute", "v", c.expiry_from_protocol(start.wall + 2));
  c.tick({start.steady + 1, start.wall - 8 * hours});
  EXPECT_NE(look(c, "relative"), nullptr);
  put(c, "later", "v", c.expiry_from_protocol(start.wall - 8 * hours + 5));  // as the clock now says
  c.tick({start.steady + 3, start.wall - 8 * hours + 2});
  EXPECT_EQ(look(c, "relative"), nullptr);
  EXPECT_EQ(look(c, "absolute"), nullptr);
  EXPECT_NE(look(c, "later"), nullptr);
  c.tick({start.steady + 6, start.wall + 30 * hours});  // and forward again: only the steady clock counts
  put(c, "fresh", "v", c.expiry_from_protocol(10));
  c.tick({start.steady + 7, start.wall + 90 * hours});
  EXPECT_NE(look(c, "fresh"), nullptr);
  EXPECT_EQ(look(c, "later"), nullptr);
}

TEST(cache, the_seconds_of_both_clocks_change_together_and_steady_ones_not_by_the_wall) {
  constexpr int64_t ms = 1'000'000, wall = 1'700'000'000'250 * ms;
  EXPECT_EQ(clock_seconds::from_ns(5'999 * ms, wall).steady, 5);
  EXPECT_EQ(clock_seconds::from_ns(5'999 * ms, wall - 8 * 3600 * 1000 * ms).steady, 5);
  int64_t offset = clock_seconds::from_ns(0, wall).wall;
  EXPECT_NEAR(double(offset), 1'700'000'000, 1);
  for (int64_t t = 0; t < 3000; t += 7) {
    auto now = clock_seconds::from_ns(t * ms, wall + t * ms);
    EXPECT_EQ(now.steady, t / 1000);
    EXPECT_EQ(now.wall, offset + now.steady) << t;
  }
}

TEST(cache, a_flush_is_now_or_later_or_not_at_all_as_memcached_reads_its_time) {
  auto flushed = [](int64_t exptime, int seconds) {
    cache c({.bytes_max = 1 << 20}, start);
    put(c, "a", "v");
    c.flush(exptime);
    c.tick(after(seconds));
    return look(c, "a") == nullptr;
  };
  for (int64_t now : {0, 1, -1, INT32_MIN})
    EXPECT_TRUE(flushed(now, 0)) << now;
  EXPECT_FALSE(flushed(10, 8));
  EXPECT_TRUE(flushed(10, 9));
  EXPECT_FALSE(flushed(2'592'001, 100'000)) << "a time in 1970";
  EXPECT_FALSE(flushed(start.wall + 10, 8));
  EXPECT_TRUE(flushed(start.wall + 10, 10));
  cache c({.bytes_max = 1 << 20}, start);
  put(c, "a", "v");
  c.flush(10);
  c.flush(2'592'001);
  c.tick(after(20));
  EXPECT_NE(look(c, "a"), nullptr) << "the earlier delay was not taken back";
}

TEST(cache, agrees_with_a_map_over_random_operations) {
  const uint64_t run_seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(run_seed));
  std::mt19937_64 random(run_seed);
  cache c({.bytes_max = 256 << 20}, start);
  std::map<std::string, std::string> model;
  for (int step = 0; step < 200'000; ++step) {
    std::string key = "key" + std::to_string(random() % 20'000);
    switch (random() % 4) {
      case 0:
      case 1: {
        std::string value(random() % 100, char('a' + random() % 26));
        ASSERT_EQ(put(c, key, value), store_outcome::stored);
        model[key] = value;
        break;
      }
      case 2:
        ASSERT_EQ(c.remove(key, hash_key(key, seed)), model.erase(key) == 1);
        break;
      case 3: {
        item* found = look(c, key);
        auto expected = model.find(key);
        ASSERT_EQ(found != nullptr, expected != model.end());
        if (found)
          ASSERT_EQ(found->value_view(), expected->second);
      }
    }
  }
  EXPECT_EQ(c.item_count(), model.size());
  EXPECT_TRUE(c.is_valid());
}

TEST(key_bytes, comparing_and_looking_for_blanks_agree_with_the_library) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string a(random() % 40, 'x');
    for (char& c : a)
      c = char(0x1f + random() % 4);
    std::string b = a;
    if (!b.empty() && random() % 2)
      b[random() % b.size()] ^= char(1 + random() % 255);
    EXPECT_EQ(same_bytes(a.data(), b.data(), a.size()), a == b);
    EXPECT_EQ(has_blank(a), a.find(' ') != a.npos);
  }
}

TEST(key_bytes, the_first_newline_is_found_wherever_it_is) {
  for (size_t size = 0; size < 80; ++size) {
    std::string text(size, 'x');
    EXPECT_EQ(find_newline(text), nullptr) << size;
    for (size_t at = 0; at < size; ++at) {
      std::string with = text;
      with[at] = with.back() = '\n';
      EXPECT_EQ(find_newline(with), with.data() + at) << size;
    }
  }
}

TEST(cache, hashes_spread_over_shards_and_buckets) {
  unsigned shards[4] = {}, buckets[16] = {};
  for (int i = 0; i < 16000; ++i) {
    uint64_t h = hash_key("key" + std::to_string(i), {42, 43});
    ++shards[shard_of_hash(h, 4)];
    ++buckets[h % 16];
  }
  for (unsigned n : shards)
    EXPECT_NEAR(n, 4000, 400);
  for (unsigned n : buckets)
    EXPECT_NEAR(n, 1000, 200);
}

}  // namespace
}  // namespace solaster::memcached

#include "framework/memory/memory.hh"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace solaster {
namespace {

// Runs `fn` as shard `id` in a thread of its own, whatever the test's thread is.
template <typename F>
void on_shard(unsigned id, F fn) {
  ASSERT_EQ(memory::reserve_shards(2, size_t(64) << 20), 0);
  std::thread([&] {
    memory::enter_shard(id);
    fn();
    memory::leave_shard();
  }).join();
}

struct object {
  unsigned char* at;
  size_t size;
  unsigned char fill;
};

void fill(const object& o) {
  std::memset(o.at, o.fill, o.size);
}
bool holds(const object& o) {
  for (size_t i = 0; i < o.size; ++i) {
    if (o.at[i] != o.fill) {
      return false;
    }
  }
  return true;
}

TEST(memory, objects_keep_their_bytes_and_alignment_under_random_use) {
  unsigned seed = 1;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  on_shard(0, [&] {
    std::mt19937 random(seed);
    std::vector<object> live;
    size_t bytes = 0;
    for (int step = 0; step < 60000; ++step) {
      if (live.size() < 100 || (random() % 2 && bytes < (size_t(30) << 20))) {
        size_t n = random() % 20 ? random() % 2000 : random() % 200000;
        size_t alignment = random() % 8 ? 16 : size_t(16) << (random() % 12);
        void* p = alignment == 16 ? std::malloc(n) : ::memalign(alignment, n);
        ASSERT_NE(p, nullptr);
        ASSERT_EQ(uintptr_t(p) % alignment, 0u);
        ASSERT_GE(malloc_usable_size(p), n);
        live.push_back({static_cast<unsigned char*>(p), n, static_cast<unsigned char>(random())});
        fill(live.back());
        bytes += n;
      } else {
        size_t k = random() % live.size();
        ASSERT_TRUE(holds(live[k]));
        if (random() % 4 == 0) {
          size_t n = random() % 4000 + 1;
          size_t kept = std::min(n, live[k].size);
          auto* p = static_cast<unsigned char*>(std::realloc(live[k].at, n));
          ASSERT_TRUE(holds({p, kept, live[k].fill}));
          bytes += n - live[k].size;
          live[k] = {p, n, live[k].fill};
          fill(live[k]);
        } else {
          bytes -= live[k].size;
          std::free(live[k].at);
          live[k] = live.back();
          live.pop_back();
        }
      }
      if (step % 5000 == 0) {
        ASSERT_TRUE(memory::is_valid()) << "step " << step;
      }
    }
    for (auto& o : live) {
      std::free(o.at);
    }
    ASSERT_TRUE(memory::is_valid());
  });
}

TEST(memory, calloc_clears_and_refuses_overflow) {
  on_shard(0, [] {
    for (int i = 0; i < 100; ++i) {
      void* dirty = std::malloc(333);
      std::memset(dirty, 0xff, 333);
      std::free(dirty);
      auto* p = static_cast<char*>(std::calloc(111, 3));
      EXPECT_EQ(std::count(p, p + 333, 0), 333);
      std::free(p);
    }
    if (memory::is_enabled()) {  // a sanitizer ends the program here
      volatile size_t huge = SIZE_MAX / 2;
      EXPECT_EQ(std::calloc(huge, 4), nullptr);
    }
  });
}

#ifndef SOLASTER_SYSTEM_ALLOCATOR

TEST(memory, everything_freed_leaves_one_run_of_pages) {
  on_shard(0, [] {
    size_t before = memory::stats().free_bytes;
    std::vector<void*> held;
    held.reserve(20000);
    for (size_t i = 0; i < 20000; ++i) {
      held.push_back(std::malloc(i % 1500));
    }
    EXPECT_LT(memory::stats().free_bytes, before);
    for (void* p : held) {
      std::free(p);
    }
    held = {};
    // A span of each size may stay behind, no more.
    EXPECT_GT(memory::stats().free_bytes + (size_t(2) << 20), before);
    EXPECT_TRUE(memory::is_valid());
  });
}

TEST(memory, spans_that_are_kept_whole_are_there_for_who_needs_them) {
  on_shard(0, [] {
    if (!memory::is_enabled()) {
      return;
    }
    size_t before = memory::stats().free_bytes;
    std::vector<void*> held;
    for (size_t pages = 5; pages < 80; ++pages) {
      held.push_back(std::malloc(pages * memory::page_size));
    }
    for (void* p : held) {
      std::free(p);
    }
    EXPECT_EQ(memory::stats().free_bytes, before);
    EXPECT_TRUE(memory::is_valid());
    void* same = std::malloc(16 * memory::page_size);
    EXPECT_TRUE(std::find(held.begin(), held.end(), same) != held.end());
    std::free(same);
    // All that there is, in pieces that only fit when nothing is kept back.
    held.clear();
    while (memory::stats().free_bytes >= 8 * memory::page_size) {
      void* p = std::malloc(5 * memory::page_size);
      if (!p) {
        break;
      }
      held.push_back(p);
    }
    EXPECT_LT(memory::stats().free_bytes, before / 16);
    EXPECT_TRUE(memory::is_valid());
    for (void* p : held) {
      std::free(p);
    }
    EXPECT_TRUE(memory::is_valid());
    EXPECT_GE(memory::stats().free_bytes + (size_t(1) << 20), before);
  });
}

TEST(memory, a_foreign_free_goes_home) {
  std::vector<void*> held;
  on_shard(0, [&] {
    for (int i = 0; i < 1000; ++i) {
      held.push_back(std::malloc(100));
      EXPECT_EQ(memory::find_owner(held.back()), 0);
    }
  });
  uint64_t before = memory::stats_of(0).drained_frees;
  on_shard(1, [&] {
    uint64_t sent = memory::stats().foreign_frees;
    for (void* p : held) {
      std::free(p);
    }
    EXPECT_EQ(memory::stats().foreign_frees - sent, 1000u);
  });
  on_shard(0, [&] {
    EXPECT_TRUE(memory::has_foreign_frees());
    memory::drain_foreign_frees();
    EXPECT_FALSE(memory::has_foreign_frees());
    EXPECT_GE(memory::stats().drained_frees - before, 1000u);
    EXPECT_TRUE(memory::is_valid());
  });
}

TEST(memory, two_shards_free_each_others_objects_at_once) {
  ASSERT_EQ(memory::reserve_shards(2, size_t(64) << 20), 0);
  constexpr int count = 50000;
  std::vector<std::atomic<void*>> box[2] = {std::vector<std::atomic<void*>>(count),
                                            std::vector<std::atomic<void*>>(count)};
  auto work = [&](unsigned me) {
    memory::enter_shard(me);
    for (int i = 0; i < count; ++i) {
      auto* p = static_cast<char*>(std::malloc(size_t(i % 300) + 8));
      p[0] = char(me);
      box[me][size_t(i)].store(p);
      if (void* q = box[1 - me][size_t(i)].exchange(nullptr)) {
        EXPECT_EQ(*static_cast<char*>(q), char(1 - me));
        std::free(q);
      }
      if (i % 64 == 0) {
        memory::drain_foreign_frees();
      }
    }
    memory::drain_foreign_frees();
    EXPECT_TRUE(memory::is_valid());
    memory::leave_shard();
  };
  std::thread a(work, 0), b(work, 1);
  a.join();
  b.join();
  for (auto& side : box) {
    for (auto& p : side) {
      std::free(p.load());
    }
  }
}

TEST(memory, exhaustion_is_a_null_pointer_and_bad_alloc) {
  on_shard(1, [] {
    std::vector<void*> held;
    held.reserve(1000);
    testing::internal::CaptureStderr();
    while (void* p = std::malloc(size_t(1) << 20)) {
      held.push_back(p);
    }
    EXPECT_GT(held.size(), 40u);
    EXPECT_THROW(
        {
          void* p = ::operator new(size_t(2) << 20);
          ::operator delete(p);
        },
        std::bad_alloc);
    std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("shard 1 is out of memory"), std::string::npos) << said;
    EXPECT_EQ(said.find("out of memory", said.find("out of memory") + 1), std::string::npos) << "said twice: " << said;
    for (void* p : held) {
      std::free(p);
    }
    EXPECT_TRUE(memory::is_valid());
  });
}

TEST(memory, a_reclaimer_is_asked_before_malloc_fails) {
  on_shard(0, [] {
    std::vector<void*> cache;
    cache.reserve(1000);
    memory::reclaimer r(
        [](void* arg, size_t) {
          auto& c = *static_cast<std::vector<void*>*>(arg);
          if (c.empty()) {
            return false;
          }
          std::free(c.back());
          c.pop_back();
          return true;
        },
        &cache, memory::reclaimer::scope::sync);
    for (int i = 0; i < 200; ++i) {
      void* p = std::malloc(size_t(1) << 20);
      ASSERT_NE(p, nullptr) << i;
      cache.push_back(p);
    }
    EXPECT_GT(memory::stats().reclaims, 0u);
    std::vector<void*> more;
    more.reserve(20000);
    while (memory::free_bytes() > (size_t(3) << 19)) {
      more.push_back(std::malloc(4096));
      ASSERT_NE(more.back(), nullptr);
    }
    EXPECT_TRUE(memory::reclaim_if_low());
    for (void* p : more) {
      std::free(p);
    }
    for (void* p : cache) {
      std::free(p);
    }
  });
}

TEST(memory, foreign_threads_and_early_objects_use_the_arena) {
  uint64_t before = memory::arena_stats().mallocs;
  std::thread([&] {
    void* p = std::malloc(100000);
    EXPECT_EQ(memory::find_owner(p), -1);
    std::free(p);
  }).join();
  EXPECT_GT(memory::arena_stats().mallocs, before);
}

#endif

}  // namespace
}  // namespace solaster

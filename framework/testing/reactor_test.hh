// A test whose body is a coroutine on shard 0 of a small engine.
//
//     REACTOR_TEST(gate, close_waits_for_those_inside) {
//         ...
//         co_await g.close();
//         EXPECT_EQ(...);                       // EXPECT_, not ASSERT_: that one returns; REACTOR_REQUIRE throws
//     }
//
// Each test starts two shards and stops them (a few milliseconds). SOLASTER_TEST_OPTIONS adds framework options, such
// as
// "--reactor-backend epoll". An exception out of the body fails the test.
#pragma once

#include "framework/base/function.hh"
#include "framework/future/future.hh"

#include <gtest/gtest.h>
#include <stdexcept>
#include <string>
#include <vector>

namespace solaster::testing {

// Runs `body` on shard 0 and returns when everything has stopped. `options` come after the defaults
// (--smp 2 --memory 128M --network-stack none --overprovisioned).
void run_in_reactor(noncopyable_function<future<>()> body, std::vector<std::string> options = {});

}  // namespace solaster::testing

#define REACTOR_TEST_WITH(suite, name, ...)                                     \
  static ::solaster::future<> suite##_##name##_body();                          \
  TEST(suite, name) {                                                           \
    ::solaster::testing::run_in_reactor(&suite##_##name##_body, {__VA_ARGS__}); \
  }                                                                             \
  static ::solaster::future<> suite##_##name##_body()

#define REACTOR_TEST(suite, name) REACTOR_TEST_WITH(suite, name, )

#define REACTOR_REQUIRE(condition)                       \
  do {                                                   \
    if (!(condition)) {                                  \
      throw std::runtime_error("required: " #condition); \
    }                                                    \
  } while (0)

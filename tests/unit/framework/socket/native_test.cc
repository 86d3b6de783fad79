// The native stack over a tap where nobody answers, and where it is taken away.
#include <algorithm>
#include <cerrno>
#include <system_error>

#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/native/driver.hh"
#include "framework/socket/native/ports.hh"
#include "framework/sync/sleep.hh"
#include "tests/unit/framework/socket/each_stack.hh"

namespace solaster::testing {
namespace {

using namespace std::chrono_literals;

#define NATIVE_TEST(name, shards)                                \
  static future<> native_##name();                               \
  TEST(native, name) {                                           \
    for (const char* backend : {"io_uring", "epoll"}) {          \
      SCOPED_TRACE(backend);                                     \
      if (!run_native(&native_##name, backend, shards)) {        \
        GTEST_SKIP() << "no right to make a network with a tap"; \
      }                                                          \
    }                                                            \
  }                                                              \
  static future<> native_##name()

NATIVE_TEST(a_host_that_is_not_there_is_unreachable, 1) {
  auto f = co_await coroutine::as_future(engine().net().connect(socket_address(0x0a09004d, 7)));
  EXPECT_EQ(error_of(std::move(f)), EHOSTUNREACH);
}

NATIVE_TEST(a_program_may_stop_while_it_looks_for_a_host_that_is_not_there, 2) {
  static std::vector<future<connected_socket>>& under_way = *new std::vector<future<connected_socket>>;
  under_way.push_back(engine().net().connect(socket_address(0x0a09004d, 7)));
  co_await sleep(1ms);
  EXPECT_FALSE(under_way.back().available());
}

NATIVE_TEST(a_tap_that_is_taken_away_is_not_asked_for_ever, 1) {
  const auto& stats = native::driver::local()->queue()->stats();
  remove_tap();
  for (int i = 0; i < 1000 && stats.device_errors == 0; ++i) {
    co_await sleep(1ms);
  }
  EXPECT_GE(stats.device_errors, 1u);
  uint64_t errors = stats.device_errors;
  co_await sleep(20ms);
  EXPECT_LT(stats.device_errors, errors + 10);
}

NATIVE_TEST(there_is_a_limit_to_ports_of_ones_own, 2) {
  std::vector<datagram_channel> all;
  int error = 0;
  for (uint32_t i = 0; i < 2 * net::port_pins::pins_max && error == 0; ++i) {
    try {
      all.push_back(engine().net().make_datagram_channel(our_address(uint16_t(10000 + i))));
    } catch (const std::system_error& e) {
      error = e.code().value();
    }
  }
  EXPECT_EQ(error, ENOBUFS);
  EXPECT_EQ(all.size(), net::port_pins::pins_max);
  all.clear();
  EXPECT_NO_THROW(all.push_back(engine().net().make_datagram_channel(our_address(10000))));
  co_await sleep(5ms);
}

// Ports that the stack chooses are not those of other shards.
NATIVE_TEST(chosen_ports_are_of_one_shard, 2) {
  static thread_local std::vector<datagram_channel> mine;
  auto open = [] {
    std::vector<uint16_t> ports;
    for (int i = 0; i < 400; ++i) {
      mine.push_back(engine().net().make_datagram_channel());
      ports.push_back(mine.back().local_address().port());
    }
    return ports;
  };
  auto ports = co_await smp::submit_to(1, open);
  for (uint16_t p : co_await smp::submit_to(0, open)) {
    EXPECT_EQ(std::count(ports.begin(), ports.end(), p), 0) << p;
  }
  co_await smp::invoke_on_all([] { std::exchange(mine, {}); });
}

}  // namespace
}  // namespace solaster::testing

#include "framework/reactor/reactor.hh"

#include "framework/future/loops.hh"
#include "framework/reactor/alien.hh"
#include "framework/reactor/options.hh"
#include "framework/reactor/sharded.hh"
#include "framework/reactor/smp.hh"
#include "framework/reactor/smp_queues.hh"
#include "framework/sync/gate.hh"
#include "framework/sync/semaphore.hh"
#include "framework/sync/sleep.hh"
#include "framework/sync/stop_signal.hh"
#include "framework/testing/reactor_test.hh"

#include <fcntl.h>
#include <unistd.h>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

using namespace solaster;
using namespace std::chrono_literals;

REACTOR_TEST(reactor, sleep_lasts_at_least_as_long_as_asked) {
  for (auto d : {milliseconds(1), milliseconds(20)}) {
    instant before = steady_clock::now();
    co_await sleep(d);
    EXPECT_GE((steady_clock::now() - before).ns, d.ns);
  }
  instant before = steady_clock::now();
  co_await sleep<lowres_clock>(15ms);
  EXPECT_GE((steady_clock::now() - before).ns, 14'000'000);
}

REACTOR_TEST(reactor, a_loop_of_ready_futures_gives_way) {
  bool other_ran = false;
  timer<> t([&] { other_ran = true; });
  t.arm(1ms);
  co_await do_until([&] { return other_ran; }, [] { return make_ready_future<>(); });
  EXPECT_GE(engine().stats().preemptions, 1u);
}

REACTOR_TEST(reactor, an_idle_shard_sleeps) {
  auto before = engine().stats().sleeps;
  co_await sleep(30ms);
  EXPECT_GE(engine().stats().sleeps, before + 1);
  EXPECT_LE(engine().stats().sleeps, before + 20);
}

REACTOR_TEST_WITH(reactor, polls_without_sleeping_when_told, "--poll-mode", "--smp", "1") {
  co_await sleep(5ms);
  EXPECT_EQ(engine().stats().sleeps, 0u);
}

REACTOR_TEST(smp, submit_to_runs_there_and_brings_the_result_back) {
  auto id = co_await smp::submit_to(1, [] { return this_shard_id(); });
  EXPECT_EQ(id, 1u);
  auto text = co_await smp::submit_to(1, [s = std::string(1000, 'x')]() -> future<std::string> {
    co_await sleep(1ms);
    co_return s + "y";  // captures live as long as the call
  });
  EXPECT_EQ(text.size(), 1001u);
  EXPECT_EQ(this_shard_id(), 0u);
  auto here = co_await smp::submit_to(0, [s = std::string("z")]() -> future<std::string> {
    co_await sleep(1ms);
    co_return s;
  });
  EXPECT_EQ(here, "z");
}

REACTOR_TEST(smp, exceptions_come_back) {
  bool caught = false;
  try {
    co_await smp::submit_to(1, [] { throw std::out_of_range("there"); });
  } catch (const std::out_of_range& e) {
    caught = std::string(e.what()) == "there";
  }
  EXPECT_TRUE(caught);
}

REACTOR_TEST(smp, a_shard_that_is_not_there_is_an_exceptional_future) {
  auto f = co_await coroutine::as_future(smp::submit_to(smp::count, [] { return 1; }));
  EXPECT_TRUE(f.failed());
  f.ignore_ready_future();
}

REACTOR_TEST(smp, many_more_messages_than_a_ring_holds_arrive_in_order) {
  static thread_local uint64_t next;
  co_await smp::invoke_on_all([] { next = 0; });
  std::vector<future<bool>> all;
  for (uint64_t i = 0; i < 20 * smp::ring_size; ++i) {
    all.push_back(smp::submit_to(1, [i] { return next++ == i; }));
  }
  for (auto& f : all) {
    EXPECT_TRUE(co_await std::move(f));
  }
}

REACTOR_TEST_WITH(smp, shards_talk_all_to_all, "--smp", "4") {
  static thread_local unsigned received;
  co_await smp::invoke_on_all([] { received = 0; });
  co_await smp::invoke_on_all([]() -> future<> {
    for (int round = 0; round < 200; ++round) {
      co_await parallel_for_each(smp::all_cpus(), [](shard_id id) { return smp::submit_to(id, [] { ++received; }); });
    }
  });
  co_await smp::invoke_on_all([] { EXPECT_EQ(received, 800u); });
}

REACTOR_TEST(smp, ping_pong_between_sleeping_shards_loses_no_wake_up) {
  for (int i = 0; i < 300; ++i) {
    co_await smp::submit_to(1, [] {});
    if (i % 10 == 0) {
      co_await sleep(microseconds(300));
    }
  }
}

namespace {
struct counter {
  int value;
  shard_id home = this_shard_id();
  bool& stopped;
  explicit counter(int v, bool* flags) : value(v), stopped(flags[this_shard_id()]) {}
  ~counter() { EXPECT_EQ(this_shard_id(), home); }
  future<> stop() {
    stopped = true;
    return make_ready_future<>();
  }
  void add(int n) { value += n; }
};
}  // namespace

REACTOR_TEST_WITH(sharded, each_shard_has_its_own, "--smp", "3") {
  bool stopped[3] = {};
  sharded<counter> s;
  co_await s.start(5, &stopped[0]);
  co_await s.invoke_on_all(&counter::add, 2);
  co_await s.invoke_on(1, &counter::add, 10);
  co_await s.invoke_on_others([](counter& c) { c.add(100); });
  int sum = co_await s.map_reduce0([](counter& c) { return c.value; }, 0, std::plus<int>());
  EXPECT_EQ(sum, 7 + 117 + 107);
  EXPECT_EQ(s.local().value, 7);
  auto values = co_await s.map([](counter& c) { return c.value; });
  EXPECT_EQ(values, (std::vector<int>{7, 117, 107}));
  co_await s.stop();
  EXPECT_TRUE(stopped[0] && stopped[1] && stopped[2]);
}

namespace {
struct picky {
  picky() {
    if (this_shard_id() == 1) {
      throw std::runtime_error("not here");
    }
  }
};
}  // namespace

REACTOR_TEST(sharded, a_start_that_fails_leaves_nothing_behind) {
  sharded<picky> s;
  auto f = co_await coroutine::as_future(s.start());
  EXPECT_TRUE(f.failed());
  f.ignore_ready_future();
  EXPECT_FALSE(s.local_is_initialized());
}

REACTOR_TEST(foreign_ptr, destroys_where_the_object_was_made) {
  struct thing {
    shard_id home = this_shard_id();
    ~thing() { EXPECT_EQ(this_shard_id(), home); }
  };
  {
    auto p = co_await smp::submit_to(1, [] { return make_foreign(std::make_unique<thing>()); });
    EXPECT_EQ(p->home, 1u);
    EXPECT_EQ(p.get_owner_shard(), 1u);
  }
  auto q = co_await smp::submit_to(1, [] { return make_foreign(std::make_unique<thing>()); });
  co_await q.destroy_on_owner();
  EXPECT_FALSE(bool(q));
}

REACTOR_TEST(pollable_fd, readable_and_writeable_over_a_pipe) {
  int ends[2];
  REACTOR_REQUIRE(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
  pollable_fd in(ends[0]), out(ends[1]);
  char c = 0;
  EXPECT_EQ(::read(in.get(), &c, 1), -1);
  auto ready = in.readable();
  co_await sleep(1ms);
  EXPECT_FALSE(ready.available());
  EXPECT_EQ(::write(out.get(), "x", 1), 1);
  co_await std::move(ready);
  EXPECT_EQ(::read(in.get(), &c, 1), 1);
  EXPECT_EQ(c, 'x');
  std::string block(65536, 'a');
  while (::write(out.get(), block.data(), block.size()) > 0) {
  }
  // A readiness that was noted before the pipe was full costs one more try.
  auto room = out.writeable();
  if (room.available()) {
    room.get();
    EXPECT_EQ(::write(out.get(), "x", 1), -1);
    room = out.writeable();
  }
  co_await sleep(1ms);
  EXPECT_FALSE(room.available());
  while (::read(in.get(), block.data(), block.size()) > 0) {
  }
  co_await std::move(room);
  auto waiting = in.readable();
  if (waiting.available()) {
    waiting.get();
    waiting = in.readable();
  }
  in.close();
  EXPECT_TRUE(waiting.failed());
  waiting.ignore_ready_future();
}

REACTOR_TEST(signals, stop_signal_takes_sigterm) {
  stop_signal stop;
  EXPECT_FALSE(stop.stopping());
  ::kill(::getpid(), SIGTERM);
  co_await stop.wait();
  EXPECT_TRUE(stop.as_abort_source().abort_was_requested());
}

REACTOR_TEST(signals, sigint_ends_a_program_that_waits_for_ever) {
  (void)sleep(1ms).then([] { ::kill(::getpid(), SIGINT); });
  static auto* never_kept = new promise<>;  // static: the coroutines that wait for it are not a leak
  co_await never_kept->get_future();
}

REACTOR_TEST(at_exit, functions_run_last_come_first) {
  static std::string order;
  order.clear();
  engine().at_exit([] {
    EXPECT_EQ(order, "ba");
    return make_ready_future<>();
  });
  engine().at_exit([]() -> future<> {
    co_await sleep(1ms);
    order += "a";
  });
  engine().at_exit([] {
    order += "b";
    return make_ready_future<>();
  });
  return make_ready_future<>();
}

// ---- messages that wait at the other end

REACTOR_TEST(smp, a_signal_gets_through_while_more_calls_wait_than_a_ring_holds) {
  static thread_local std::optional<semaphore> sem;
  co_await smp::submit_to(1, [] { sem.emplace(0); });
  constexpr size_t waiting = 5 * smp::ring_size;
  std::vector<future<>> all;
  for (size_t i = 0; i < waiting; ++i) {
    all.push_back(smp::submit_to(1, [] { return sem->wait(); }));
  }
  auto signalled = co_await coroutine::as_future(with_timeout(5s, smp::submit_to(1, [] { sem->signal(waiting); })));
  REACTOR_REQUIRE(!signalled.failed());
  for (auto& f : all) {
    co_await std::move(f);
  }
  co_await smp::submit_to(1, [] { sem.reset(); });
}

REACTOR_TEST(smp, the_frameworks_calls_overtake_a_programs) {
  static thread_local int ran;
  co_await smp::submit_to(1, [] { ran = 0; });
  std::vector<future<>> all;
  for (unsigned i = 0; i < 20 * smp::ring_size; ++i) {
    all.push_back(smp::submit_to(1, [] { ++ran; }));
  }
  int before = co_await smp::submit_framework_call(1, [] { return ran; });
  EXPECT_LT(before, int(10 * smp::ring_size));
  for (auto& f : all) {
    co_await std::move(f);
  }
}

TEST(smp, sigterm_ends_a_program_whose_calls_wait_for_ever) {
  EXPECT_EXIT(
      {
        solaster::testing::run_in_reactor([]() -> future<> {
          static semaphore* sem;  // shard 1's
          static std::vector<future<>> all;
          co_await smp::submit_to(1, [] { sem = new semaphore(0); });
          for (size_t i = 0; i < 3 * smp::ring_size; ++i) {
            all.push_back(smp::submit_to(1, [] { return sem->wait(); }));
          }
          co_await sleep(5ms);
          ::kill(::getpid(), SIGTERM);
          co_await std::move(all.back());
        });
        std::_Exit(0);
      },
      ::testing::ExitedWithCode(0), "");
}

REACTOR_TEST(smp, a_call_to_a_busy_shard_runs_between_its_slices) {
  static thread_local bool stop;
  co_await smp::submit_to(1, [] { stop = false; });
  auto busy = smp::submit_to(1, []() -> future<> {
    while (!stop) {
      instant until = steady_clock::now() + microseconds(20);
      while (steady_clock::now() < until) {
      }
      co_await coroutine::yield();
    }
  });
  for (int i = 0; i < 50; ++i) {
    co_await smp::submit_to(1, [] {});
  }
  co_await smp::submit_to(1, [] { stop = true; });
  co_await std::move(busy);
}

REACTOR_TEST(spsc_ring, keeps_its_rule_through_filling_and_taking) {
  auto ring = std::make_unique<spsc_ring>();
  uint32_t in = 0, out = 0;
  auto message = [](uint32_t n) { return reinterpret_cast<internal::smp_message*>(uintptr_t(n + 1) * 64); };
  for (uint32_t step = 0; step < 2000; ++step) {
    for (uint32_t n = step * 7 % 200; n > 0 && ring->has_room(); --n) {
      ring->push(message(in++));
    }
    EXPECT_TRUE(ring->is_valid());
    ring->publish();
    EXPECT_EQ(ring->is_unread(), in != out);
    EXPECT_LE(in - out, spsc_ring::size);
    for (uint32_t n = step * 5 % 190; n > 0 && ring->count_readable() != 0; --n) {
      EXPECT_EQ(ring->take(), message(out++));
    }
    ring->release_taken();
    EXPECT_TRUE(ring->is_valid());
  }
  EXPECT_GT(out, 100'000u);
  return make_ready_future<>();
}

// ---- foreign threads

REACTOR_TEST(alien, a_foreign_thread_is_no_shard_and_may_not_send_messages) {
  bool no_id = false, refused = false;
  std::thread([&] {
    no_id = this_shard_id() == no_shard;
    auto f = smp::submit_to(0, [] { ADD_FAILURE() << "ran"; });
    refused = f.failed();
    f.ignore_ready_future();
  }).join();
  EXPECT_TRUE(no_id);
  EXPECT_TRUE(refused);
  co_return;
}

REACTOR_TEST(alien, calls_run_on_the_shard_and_bring_results_back) {
  std::atomic<bool> done{false};
  std::thread foreign([&] {
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(alien::submit_to(unsigned(i % 2), [] { return this_shard_id(); }).get(), unsigned(i % 2));
      if (i % 20 == 0) {
        std::this_thread::sleep_for(2ms);  // both shards fall asleep
      }
    }
    auto late = alien::submit_to(1, [s = std::string("kept")]() -> future<std::string> {
      co_await sleep(1ms);
      co_return s;
    });
    EXPECT_EQ(late.get(), "kept");
    EXPECT_THROW(alien::submit_to(1, [] { throw std::out_of_range("there"); }).get(), std::out_of_range);
    EXPECT_THROW(alien::submit_to(63, [] {}).get(), alien::shard_not_running);
    EXPECT_THROW(alien::run_on(1000, [] {}), alien::shard_not_running);
    std::atomic<int> ran{0};
    for (int i = 0; i < 1000; ++i) {
      alien::run_on(1, [&ran, i] { EXPECT_EQ(ran++, i); });  // in order
    }
    alien::submit_to(1, [] {}).get();
    EXPECT_EQ(ran.load(), 1000);
    done = true;
    alien::run_on(0, [] {});
  });
  while (!done) {
    co_await sleep(1ms);
  }
  foreign.join();
}

REACTOR_TEST(alien, many_threads_and_a_busy_shard) {
  static thread_local uint64_t received;
  co_await smp::submit_to(1, [] { received = 0; });
  std::atomic<int> left{4};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&left] {
      for (int i = 0; i < 2000; ++i) {
        alien::run_on(1, [] { ++received; });
      }
      alien::submit_to(1, [] {}).get();
      --left;
    });
  }
  // Ready futures only: it gives way because it is asked to.
  co_await smp::submit_to(
      1, [&left] { return do_until([&] { return left == 0; }, [] { return make_ready_future<>(); }); });
  for (auto& t : threads) {
    t.join();
  }
  EXPECT_EQ(co_await smp::submit_to(1, [] { return received; }), 8000u);
}

TEST(alien, a_shard_that_has_ended_is_not_running) {
  std::atomic<bool> stop{false};
  std::thread foreign([&] {  // at the door while shards come and go
    while (!stop) {
      try {
        alien::submit_to(1, [] {}).get();
      } catch (const alien::shard_not_running&) {
      }
    }
  });
  for (int i = 0; i < 20; ++i) {
    solaster::testing::run_in_reactor([] { return sleep(1ms); });
  }
  stop = true;
  foreign.join();
  EXPECT_THROW(alien::submit_to(0, [] {}).get(), alien::shard_not_running);
}

// ---- stop, timers, signals

REACTOR_TEST(sharded, stop_without_start_has_nothing_to_do) {
  bool stopped[2] = {};
  sharded<counter> s;
  co_await s.stop();
  co_await s.start(1, &stopped[0]);
  co_await s.stop();
  co_await s.stop();
  EXPECT_TRUE(stopped[1]);
}

REACTOR_TEST(timer, a_callback_that_throws_is_logged_and_the_others_fire) {
  ::testing::internal::CaptureStderr();
  int fired = 0;
  timer<> bad([&] {
    ++fired;
    throw std::runtime_error("thrown by a timer");
  });
  timer<> good([&] { ++fired; });
  bad.arm_periodic(milliseconds(1));
  good.arm(milliseconds(2));
  while (fired < 4) {
    co_await sleep(1ms);
  }
  bad.cancel();
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("thrown by a timer"), std::string::npos);
}

TEST(signals, a_second_sigint_ends_a_program_whose_stop_hangs) {
  for (bool with_stop_signal : {false, true}) {
    EXPECT_EXIT(solaster::testing::run_in_reactor([with_stop_signal]() -> future<> {
                  engine().at_exit([] { return sleep(60s); });
                  std::optional<stop_signal> stop;
                  if (with_stop_signal) {
                    stop.emplace();
                  }
                  ::kill(::getpid(), SIGINT);
                  co_await sleep(5ms);
                  ::kill(::getpid(), SIGINT);
                  co_await sleep(60s);
                }),
                ::testing::KilledBySignal(SIGINT), "");
  }
}

REACTOR_TEST(reactor, a_sleep_ends_beside_slices_that_only_yield) {
  bool stop = false;
  auto busy = [](bool& stop) -> future<> {
    while (!stop) {
      co_await coroutine::maybe_yield();
    }
  }(stop);
  co_await sleep(1ms);
  stop = true;
  co_await std::move(busy);
}

// Loops, gates, semaphores and the rest of what coroutines wait for.
#include "framework/future/do_with.hh"
#include "framework/future/loops.hh"
#include "framework/future/when_all.hh"
#include "framework/reactor/smp.hh"
#include "framework/sync/condition_variable.hh"
#include "framework/sync/gate.hh"
#include "framework/sync/pipe.hh"
#include "framework/sync/queue.hh"
#include "framework/sync/rwlock.hh"
#include "framework/sync/semaphore.hh"
#include "framework/sync/sleep.hh"
#include "framework/testing/reactor_test.hh"

#include <algorithm>
#include <stdexcept>
#include <string>

using namespace solaster;
using namespace std::chrono_literals;

namespace {
template <typename E, typename F>
future<bool> fails_with(F f) {
  try {
    co_await std::move(f);
  } catch (const E&) {
    co_return true;
  }
  co_return false;
}
}  // namespace

REACTOR_TEST(loops, repeat_and_do_until_count) {
  int n = 0;
  co_await repeat([&] { return ++n == 1000 ? stop_iteration::yes : stop_iteration::no; });
  EXPECT_EQ(n, 1000);
  co_await repeat([&]() -> future<stop_iteration> {
    co_await coroutine::yield();
    co_return --n == 0 ? stop_iteration::yes : stop_iteration::no;
  });
  co_await do_until([&] { return n == 5; },
                    [&] {
                      ++n;
                      return make_ready_future<>();
                    });
  EXPECT_EQ(n, 5);
  EXPECT_TRUE(co_await fails_with<std::runtime_error>(keep_doing([&]() -> future<> {
    if (--n == 0) {
      throw std::runtime_error("enough");
    }
    return make_ready_future<>();
  })));
}

REACTOR_TEST(loops, a_coroutine_with_captures_lives_as_long_as_its_loop) {
  int n = 0;
  co_await repeat([&n, text = std::string(100, 'x')]() -> future<stop_iteration> {
    co_await sleep(microseconds(10));
    EXPECT_EQ(text.size(), 100u);
    co_return ++n == 3 ? stop_iteration::yes : stop_iteration::no;
  });
}

REACTOR_TEST(loops, parallel_for_each_starts_all_and_reports_a_failure) {
  std::vector<int> v{1, 2, 3, 4};
  int started = 0, finished = 0;
  co_await parallel_for_each(v, [&](int) -> future<> {
    ++started;
    co_await sleep(1ms);
    EXPECT_EQ(started, 4);
    ++finished;
  });
  EXPECT_EQ(finished, 4);
  EXPECT_TRUE(co_await fails_with<std::runtime_error>(parallel_for_each(v, [&](int i) -> future<> {
    if (i == 2) {
      throw std::runtime_error("two");
    }
    co_await sleep(1ms);
    ++finished;
  })));
  EXPECT_EQ(finished, 7);
}

REACTOR_TEST(loops, max_concurrent_for_each_keeps_to_its_limit) {
  std::vector<int> v(20);
  int now = 0, most = 0, total = 0;
  co_await max_concurrent_for_each(v, 3, [&](int) -> future<> {
    most = std::max(most, ++now);
    co_await sleep(microseconds(50));
    --now;
    ++total;
  });
  EXPECT_EQ(most, 3);
  EXPECT_EQ(total, 20);
  total = 0;
  co_await do_for_each(v, [&](int& x) { x = ++total; });
  EXPECT_EQ(v.back(), 20);
}

REACTOR_TEST(do_with, values_live_until_the_future_is_ready) {
  auto size = co_await do_with(std::string("hello"), 3, [](std::string& s, int& n) {
    return sleep(1ms).then([&] { return s.size() + size_t(n); });
  });
  EXPECT_EQ(size, 8u);
}

REACTOR_TEST(gate, close_waits_for_those_inside) {
  gate g;
  bool finished = false;
  spawn(g, [&]() -> future<> {
    co_await sleep(2ms);
    finished = true;
  });
  EXPECT_EQ(g.get_count(), 1u);
  co_await g.close();
  EXPECT_TRUE(finished);
  EXPECT_TRUE(co_await fails_with<gate_closed_exception>(with_gate(g, [] {})));
  spawn(g, [] { return make_ready_future<>(); });
}

REACTOR_TEST(semaphore, first_come_first_served) {
  semaphore s(2);
  std::string order;
  auto job = [&](char name, size_t units) -> future<> {
    auto held = co_await get_units(s, units);
    order += name;
    co_await sleep(1ms);
  };
  co_await when_all_succeed(job('a', 1), job('b', 2), job('c', 1));
  EXPECT_EQ(order, "abc");
  EXPECT_EQ(s.current(), 2u);
}

REACTOR_TEST(semaphore, waits_time_out_abort_and_break) {
  semaphore s(0);
  EXPECT_FALSE(s.try_wait());
  EXPECT_TRUE(co_await fails_with<semaphore_timed_out>(s.wait(1ms)));
  abort_source as;
  auto w = s.wait(as);
  as.request_abort();
  EXPECT_TRUE(co_await fails_with<abort_requested>(std::move(w)));
  EXPECT_TRUE(co_await fails_with<abort_requested>(s.wait(as)));
  // Behind one that wants too much and gives up.
  s.signal(1);
  auto big = s.wait(2ms, 5);
  auto small = s.wait(1);
  EXPECT_FALSE(small.available());
  EXPECT_TRUE(co_await fails_with<semaphore_timed_out>(std::move(big)));
  co_await std::move(small);
  auto last = s.wait();
  s.broken();
  EXPECT_TRUE(co_await fails_with<broken_semaphore>(std::move(last)));
  EXPECT_TRUE(co_await fails_with<broken_semaphore>(s.wait()));
  EXPECT_EQ(s.waiters(), 0u);
}

REACTOR_TEST(semaphore, units_split_and_return) {
  semaphore s(10);
  {
    auto u = co_await get_units(s, 6);
    auto v = u.split(2);
    EXPECT_EQ(s.current(), 4u);
    u.return_units(1);
    EXPECT_EQ(s.current(), 5u);
    v.adopt(std::move(u));
    EXPECT_EQ(v.count(), 5u);
  }
  EXPECT_EQ(s.current(), 10u);
  EXPECT_EQ(co_await with_semaphore(s, 10, [&] { return s.current(); }), 0u);
}

REACTOR_TEST(condition_variable, wakes_those_whose_condition_holds) {
  condition_variable cv;
  int value = 0;
  auto waiter = [&](int wanted) { return cv.wait([&value, wanted] { return value >= wanted; }); };
  auto one = waiter(1), two = waiter(2);
  value = 1;
  cv.broadcast();
  co_await std::move(one);
  EXPECT_FALSE(two.available());
  value = 2;
  cv.broadcast();
  co_await std::move(two);
  EXPECT_TRUE(co_await fails_with<condition_variable_timed_out>(cv.wait(1ms)));
  auto last = cv.wait();
  cv.broken();
  EXPECT_TRUE(co_await fails_with<broken_condition_variable>(std::move(last)));
}

REACTOR_TEST(rwlock, readers_share_and_a_writer_is_alone) {
  rwlock l;
  auto a = co_await l.hold_read_lock();
  auto b = co_await l.hold_read_lock();
  EXPECT_FALSE(l.try_write_lock());
  auto w = l.hold_write_lock();
  EXPECT_FALSE(l.try_read_lock());
  a.return_all();
  b.return_all();
  auto held = co_await std::move(w);
  EXPECT_FALSE(l.try_read_lock());
}

REACTOR_TEST(queue, holds_back_producers_and_consumers) {
  queue<int> q(2);
  auto produce = [&]() -> future<> {  // named: its captures must outlive the coroutine
    for (int i = 0; i < 10; ++i) {
      co_await q.push_eventually(i);
      EXPECT_LE(q.size(), 2u);
    }
  };
  auto producer = produce();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(co_await q.pop_eventually(), i);
  }
  co_await std::move(producer);
  auto w = q.pop_eventually();
  q.abort(std::make_exception_ptr(std::runtime_error("stop")));
  EXPECT_TRUE(co_await fails_with<std::runtime_error>(std::move(w)));
}

REACTOR_TEST(pipe, each_end_sees_the_other_go) {
  auto p = std::make_unique<solaster::pipe<int>>(1);
  auto reader = std::make_unique<pipe_reader<int>>(std::move(p->reader));
  auto writer = std::make_unique<pipe_writer<int>>(std::move(p->writer));
  co_await writer->write(1);
  auto second = writer->write(2);
  EXPECT_FALSE(second.available());
  EXPECT_EQ(co_await reader->read(), 1);
  co_await std::move(second);
  writer.reset();
  EXPECT_EQ(co_await reader->read(), 2);
  EXPECT_EQ(co_await reader->read(), std::nullopt);
  solaster::pipe<int> q(1);
  {
    auto gone = std::move(q.reader);
  }
  EXPECT_TRUE(co_await fails_with<broken_pipe_exception>(q.writer.write(1)));
}

REACTOR_TEST(sleep, can_be_aborted) {
  abort_source as;
  auto f = sleep_abortable(3600s, as);
  EXPECT_FALSE(f.available());
  as.request_abort();
  EXPECT_TRUE(co_await fails_with<sleep_aborted>(std::move(f)));
  EXPECT_TRUE(co_await fails_with<sleep_aborted>(sleep_abortable(1s, as)));
}

REACTOR_TEST(with_timeout, gives_up_in_time) {
  promise<int> late;
  EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, late.get_future())));
  late.set_value(1);
  promise<int> soon;
  auto f = with_timeout(3600s, soon.get_future());
  soon.set_value(2);
  EXPECT_EQ(co_await std::move(f), 2);
  EXPECT_EQ(co_await with_timeout(1ms, make_ready_future<int>(3)), 3);
  co_await coroutine::yield();
}

REACTOR_TEST(abort_source, subscriptions_are_called_once_and_may_go) {
  abort_source as;
  int calls = 0;
  auto a = as.subscribe([&] { ++calls; });
  {
    auto b = as.subscribe([&] { ++calls; });
  }
  auto moved = std::move(*a);
  as.request_abort();
  as.request_abort();
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(as.subscribe([] {}));
  EXPECT_THROW(as.check(), abort_requested);
  return make_ready_future<>();
}

// ---- waits that were given up

REACTOR_TEST(given_up, a_semaphores_units_go_to_who_still_waits) {
  semaphore sem(0);
  EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, sem.wait(3))));
  (void)sem.wait(4);  // dropped
  auto wanted = sem.wait(1);
  EXPECT_TRUE(sem.is_valid());
  sem.signal(1);
  EXPECT_TRUE(sem.is_valid());
  EXPECT_TRUE(wanted.available());
  co_await with_timeout(5s, std::move(wanted));
  sem.signal(2);
  EXPECT_EQ(sem.available_units(), 2);
}

REACTOR_TEST(given_up, units_that_nobody_wants_come_back) {
  semaphore sem(0);
  EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, get_units(sem, 2).discard_result())));
  auto wanted = sem.wait(1);
  sem.signal(2);
  co_await with_timeout(5s, std::move(wanted));
  EXPECT_EQ(sem.available_units(), 1);
}

REACTOR_TEST(given_up, a_queue_gives_its_item_to_who_still_waits) {
  queue<int> q(2);
  EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, q.pop_eventually())));
  EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, q.not_empty())));
  auto wanted = q.pop_eventually();
  q.push(7);
  EXPECT_EQ(co_await with_timeout(5s, std::move(wanted)), 7);
  q.push(8);
  co_await coroutine::yield();
  EXPECT_EQ(q.size(), 1u);
}

REACTOR_TEST(given_up, a_pipe_gives_its_item_to_who_still_waits) {
  solaster::pipe<int> p(2);
  EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, p.reader.read())));
  auto wanted = p.reader.read();
  co_await p.writer.write(7);
  EXPECT_EQ(co_await with_timeout(5s, std::move(wanted)), 7);
}

REACTOR_TEST(given_up, a_signal_goes_to_who_still_waits) {
  condition_variable cv;
  bool holds = false;
  EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, cv.wait())));
  EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, cv.wait([&] { return holds; }))));
  auto wanted = cv.wait([&] { return holds; });
  holds = true;
  cv.signal();
  co_await with_timeout(5s, std::move(wanted));
  cv.signal();  // nobody: not kept
  EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, cv.wait())));
}

REACTOR_TEST(given_up, a_late_failure_is_nobodys_concern) {
  ::testing::internal::CaptureStderr();
  {
    promise<> late;
    EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, late.get_future())));
    late.set_exception(std::runtime_error("late"));
    semaphore sem(0);
    EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, sem.wait())));
    promise<> broken;
    EXPECT_TRUE(co_await fails_with<timed_out_error>(with_timeout(1ms, broken.get_future())));
  }
  co_await coroutine::yield();
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

// ---- what nobody looks at is in the log

namespace {
future<> fail_after(delay d, const char* why) {
  co_await sleep(d);
  throw std::runtime_error(why);
}
}  // namespace

REACTOR_TEST(dropped, failures_that_come_later_are_logged) {
  ::testing::internal::CaptureStderr();
  (void)fail_after(1ms, "first");
  (void)smp::submit_to(1, [] { return fail_after(1ms, "second"); });
  (void)smp::submit_to(1, []() -> int { throw std::runtime_error("third"); });
  (void)sleep(1ms).then([] { throw std::runtime_error("fourth"); });
  {
    promise<> p;
    (void)p.get_future();
    p.set_exception(std::runtime_error("fifth"));
    promise<> without_future;
    without_future.set_exception(std::runtime_error("sixth"));
  }
  co_await sleep(20ms);
  std::string said = ::testing::internal::GetCapturedStderr();
  for (const char* why : {"first", "second", "third", "fourth", "fifth", "sixth"}) {
    EXPECT_NE(said.find(std::string("a failed future was ignored: std::runtime_error: ") + why), std::string::npos)
        << why << " in:\n"
        << said;
  }
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 6) << said;
}

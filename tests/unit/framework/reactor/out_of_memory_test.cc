// Every allocation of a scenario fails once, and from there on all of them: the scenario ends with its result or with
// std::bad_alloc, nothing hangs, nothing is lost, and the next one works.
#include "framework/future/do_with.hh"
#include "framework/future/loops.hh"
#include "framework/future/when_all.hh"
#include "framework/memory/memory.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/sharded.hh"
#include "framework/reactor/smp.hh"
#include "framework/sync/condition_variable.hh"
#include "framework/sync/gate.hh"
#include "framework/sync/pipe.hh"
#include "framework/sync/queue.hh"
#include "framework/sync/semaphore.hh"
#include "framework/sync/sleep.hh"
#include "framework/testing/reactor_test.hh"

#include <csignal>
#include <memory>

using namespace solaster;
using namespace std::chrono_literals;

namespace {

// Runs `scenario` again and again, each time with a later allocation failing, until one run has none that fails.
template <typename Scenario>
future<> with_every_failure(bool all, Scenario scenario) {
  if (!memory::is_enabled()) {
    co_return;
  }
  bool reached_the_end = false;
  for (uint64_t nth = 1; nth < 500 && !reached_the_end; ++nth) {
    bool bad_alloc = false;
    {
      memory::failure_injector injector(nth, all);
      auto done = co_await coroutine::as_future(futurize_invoke(scenario));
      reached_the_end = !injector.has_failed();
      if (done.failed()) {
        try {
          std::rethrow_exception(done.get_exception());
        } catch (const std::bad_alloc&) {
          bad_alloc = true;
        } catch (const std::exception& e) {
          ADD_FAILURE() << "allocation " << nth << ": " << e.what();
        }
      }
    }
    EXPECT_FALSE(bad_alloc && reached_the_end);
    co_await coroutine::yield();  // a turn, in which the reserve is filled up
    co_await sleep(microseconds(10));
  }
  EXPECT_TRUE(reached_the_end);
  co_await futurize_invoke(scenario);
}

template <typename Scenario>
future<> with_every_failure(Scenario scenario) {
  co_await with_every_failure(false, scenario);
  co_await with_every_failure(true, scenario);
}

}  // namespace

REACTOR_TEST(out_of_memory, sleeps_and_timeouts) {
  co_await with_every_failure([]() -> future<> {
    co_await sleep(microseconds(20));
    promise<int> never;
    auto late = co_await coroutine::as_future(with_timeout(microseconds(20), never.get_future()));
    EXPECT_TRUE(late.failed());
    try {
      late.get();
    } catch (const timed_out_error&) {
    }
    abort_source as;
    co_await sleep_abortable(microseconds(20), as);
  });
}

REACTOR_TEST(out_of_memory, calls_to_another_shard) {
  co_await with_every_failure([]() -> future<> {
    EXPECT_EQ(co_await smp::submit_to(1, [] { return 7; }), 7);
    co_await smp::submit_to(1, [] { return sleep(microseconds(10)); });
    co_await smp::invoke_on_all([] {});
  });
}

REACTOR_TEST(out_of_memory, what_belongs_to_another_shard_goes_home) {
  static std::atomic<int> alive{0}, astray{0};
  struct thing {
    shard_id home = this_shard_id();
    thing() { ++alive; }
    ~thing() {
      --alive;
      astray += this_shard_id() != home;
    }
  };
  co_await with_every_failure([]() -> future<> {
    auto p = co_await smp::submit_to(1, [] { return make_foreign(std::make_unique<thing>()); });
    EXPECT_EQ(p->home, 1u);
  });
  co_await smp::submit_to(1, [] {});
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(astray, 0);
}

REACTOR_TEST(out_of_memory, continuations_run_whatever_happens) {
  static int begun, ended;
  begun = ended = 0;
  co_await with_every_failure([]() -> future<> {
    promise<> p;
    ++begun;
    auto f = p.get_future().then([] {}).then_wrapped([](future<> x) { return x; }).finally([] { ++ended; });
    p.set_value();
    co_await std::move(f);
  });
  EXPECT_EQ(begun, ended);
}

REACTOR_TEST(out_of_memory, waits) {
  co_await with_every_failure([]() -> future<> {
    semaphore sem(0);
    auto units = get_units(sem, 1);
    sem.signal();
    (co_await std::move(units)).return_all();
    EXPECT_EQ(sem.available_units(), 1);
    condition_variable cv;
    bool holds = false;
    auto signalled = cv.wait([&] { return holds; });
    holds = true;
    cv.broadcast();
    co_await std::move(signalled);
  });
}

REACTOR_TEST(out_of_memory, queues_and_pipes) {
  co_await with_every_failure([]() -> future<> {
    queue<int> q(1);
    auto item = q.pop_eventually();
    auto pushed = co_await coroutine::as_future(q.push_eventually(1));
    if (pushed.failed()) {
      item.give_up();
    } else {
      EXPECT_EQ(co_await std::move(item), 1);
    }
    co_await std::move(pushed);
    solaster::pipe<int> p(1);
    co_await p.writer.write(2);
    EXPECT_EQ(co_await p.reader.read(), 2);
  });
}

REACTOR_TEST(out_of_memory, gates_and_loops) {
  co_await with_every_failure([]() -> future<> {
    gate g;
    spawn(g, [] { return sleep(microseconds(10)); });
    auto inside = with_gate(g, [] { return sleep(microseconds(10)); });
    co_await g.close();
    co_await std::move(inside);
    std::vector<int> many = {1, 2, 3};
    co_await parallel_for_each(many, [](int) { return sleep(microseconds(5)); });
    co_await max_concurrent_for_each(many, 2, [](int) { return sleep(microseconds(5)); });
    co_await when_all_succeed(sleep(microseconds(5)), sleep(microseconds(5)));
    co_await do_with(1, [](int&) { return sleep(microseconds(5)); });
  });
}

REACTOR_TEST(out_of_memory, a_timer_that_throws) {
  ::testing::internal::CaptureStderr();
  co_await with_every_failure([]() -> future<> {
    promise<> fired;
    timer<> t([&] {
      fired.set_value();
      throw std::runtime_error("no memory to say so");
    });
    t.arm(microseconds(10));
    co_await fired.get_future();
  });
  (void)::testing::internal::GetCapturedStderr();
}

TEST(out_of_memory, a_program_that_is_told_to_stop_stops) {
  for (uint64_t nth = 1; nth < 20; ++nth) {
    solaster::testing::run_in_reactor([nth]() -> future<> {
      static std::unique_ptr<memory::failure_injector> injector;
      static std::unique_ptr<timer<>> lift;
      engine().at_exit([] {
        injector.reset();
        lift.reset();
        return make_ready_future<>();
      });
      ::testing::internal::CaptureStderr();
      // Lifted by hand when nothing of the end could begin at all.
      lift = std::make_unique<timer<>>([] { injector.reset(); });
      lift->arm(milliseconds(5));
      injector = std::make_unique<memory::failure_injector>(nth, true);
      engine().exit(0);
      co_return;  // at once: what still waits when the reactor goes away is never resumed, and lost
    });
    (void)::testing::internal::GetCapturedStderr();
  }
}

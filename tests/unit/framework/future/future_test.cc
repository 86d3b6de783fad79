// Futures without a reactor: what is ready runs inline; what is not runs when the task queue is worked off by hand.
#include "framework/future/future.hh"

#include "framework/future/when_all.hh"

#include <gtest/gtest.h>
#include <memory>
#include <string>

using namespace solaster;

namespace {

void run_queued() {
  while (!internal::hot.tasks.empty()) {
    internal::hot.tasks.pop_front()->run_and_dispose();
  }
}

struct oops : std::runtime_error {
  oops() : std::runtime_error("oops") {}
};

static_assert(sizeof(future<>) == 2 * sizeof(void*));
static_assert(std::is_nothrow_move_constructible_v<future<std::string>>);
static_assert(!std::is_copy_constructible_v<future<>>);

}  // namespace

TEST(future, ready_value_is_passed_on_inline) {
  int seen = 0;
  auto f = make_ready_future<int>(3).then([&](int x) {
    seen = x;
    return x + 1;
  });
  EXPECT_EQ(seen, 3);
  EXPECT_TRUE(f.available());
  EXPECT_EQ(f.get(), 4);
}

TEST(future, pending_continuation_runs_from_the_queue) {
  promise<int> p;
  int seen = 0;
  auto f = p.get_future().then([&](int x) { seen = x; });
  EXPECT_FALSE(f.available());
  p.set_value(7);
  EXPECT_EQ(seen, 0);
  run_queued();
  EXPECT_EQ(seen, 7);
  EXPECT_TRUE(f.available());
  f.get();
}

TEST(future, value_set_before_get_future_is_kept) {
  promise<std::string> p;
  p.set_value("early");
  EXPECT_EQ(p.get_future().get(), "early");
}

TEST(future, move_only_values_travel) {
  promise<std::unique_ptr<int>> p;
  auto f = p.get_future().then([](std::unique_ptr<int> x) { return std::make_unique<int>(*x + 1); });
  p.set_value(std::make_unique<int>(1));
  run_queued();
  EXPECT_EQ(*f.get(), 2);
}

TEST(future, both_ends_may_move_while_linked) {
  promise<int> a;
  auto f = a.get_future();
  promise<int> b = std::move(a);
  auto g = std::move(f);
  promise<int> c;
  c = std::move(b);
  c.set_value(5);
  EXPECT_TRUE(g.available());
  EXPECT_EQ(g.get(), 5);
}

TEST(future, exception_passes_by_then_and_is_handled) {
  bool called = false;
  auto f =
      make_exception_future<int>(oops()).then([&](int) { called = true; }).handle_exception([](std::exception_ptr) {});
  EXPECT_FALSE(called);
  EXPECT_TRUE(f.available());
  f.get();
}

TEST(future, exception_thrown_by_a_continuation_is_its_future) {
  promise<> p;
  auto f = p.get_future().then([]() -> int { throw oops(); });
  p.set_value();
  run_queued();
  EXPECT_TRUE(f.failed());
  EXPECT_THROW(f.get(), oops);
}

TEST(future, handle_exception_type_takes_only_its_own) {
  auto f = make_exception_future<int>(oops()).handle_exception_type<oops>([](oops&) { return 1; });
  EXPECT_EQ(f.get(), 1);
  auto g = make_exception_future<int>(std::logic_error("x")).handle_exception_type<oops>([](oops&) { return 1; });
  EXPECT_THROW(g.get(), std::logic_error);
}

TEST(future, finally_runs_either_way_and_keeps_the_result) {
  int runs = 0;
  auto f = make_ready_future<int>(1).finally([&] { ++runs; });
  EXPECT_EQ(f.get(), 1);
  auto g = make_exception_future<int>(oops()).finally([&] { ++runs; });
  EXPECT_THROW(g.get(), oops);
  promise<> slow;
  auto h = make_ready_future<int>(2).finally([&] { return slow.get_future(); });
  EXPECT_FALSE(h.available());
  slow.set_value();
  run_queued();
  EXPECT_EQ(h.get(), 2);
  EXPECT_EQ(runs, 2);
}

TEST(future, broken_promise_is_an_exception) {
  std::optional<promise<int>> p(std::in_place);
  auto f = p->get_future();
  p.reset();
  EXPECT_THROW(f.get(), broken_promise);
  p.emplace();
  auto g = p->get_future().then([](int) {});
  p.reset();
  run_queued();
  EXPECT_THROW(g.get(), broken_promise);
}

TEST(future, value_for_a_future_that_is_gone_is_dropped) {
  promise<std::string> p;
  {
    auto f = p.get_future();
  }
  p.set_value("nobody");
  promise<> q;
  {
    auto f = q.get_future();
  }
  q.set_exception(oops());
}

TEST(future, chain_of_futures_is_flattened) {
  promise<int> inner;
  promise<> outer;
  auto f = outer.get_future().then([&] { return inner.get_future(); }).then([](int x) { return x * 2; });
  outer.set_value();
  run_queued();
  EXPECT_FALSE(f.available());
  inner.set_value(21);
  run_queued();
  EXPECT_EQ(f.get(), 42);
}

namespace {
future<int> add(future<int> a, future<int> b) {
  int x = co_await std::move(a);
  int y = co_await std::move(b);
  co_return x + y;
}
future<> fail_after(future<> f) {
  co_await std::move(f);
  throw oops();
}
}  // namespace

TEST(coroutine, runs_inline_when_everything_is_ready) {
  auto f = add(make_ready_future<int>(1), make_ready_future<int>(2));
  EXPECT_TRUE(f.available());
  EXPECT_EQ(f.get(), 3);
}

TEST(coroutine, waits_for_what_is_not) {
  promise<int> a, b;
  auto f = add(a.get_future(), b.get_future());
  b.set_value(2);
  run_queued();
  EXPECT_FALSE(f.available());
  a.set_value(1);
  run_queued();
  EXPECT_EQ(f.get(), 3);
}

TEST(coroutine, exceptions_come_out_and_go_in) {
  promise<> p;
  auto f = fail_after(p.get_future());
  p.set_value();
  run_queued();
  EXPECT_THROW(f.get(), oops);
  auto g = [](future<> f) -> future<int> {
    try {
      co_await std::move(f);
    } catch (const oops&) {
      co_return 1;
    }
    co_return 0;
  }(make_exception_future<>(oops()));
  EXPECT_EQ(g.get(), 1);
}

TEST(coroutine, as_future_and_exception_do_not_throw) {
  bool destroyed = false;
  struct mark {
    bool& flag;
    ~mark() { flag = true; }
  };
  auto f = [](bool& flag) -> future<int> {
    mark m{flag};
    auto inner = co_await coroutine::as_future(make_exception_future<int>(oops()));
    EXPECT_TRUE(inner.failed());
    co_await coroutine::exception(inner.get_exception());
    co_return 0;
  }(destroyed);
  EXPECT_TRUE(destroyed);
  EXPECT_THROW(f.get(), oops);
}

TEST(coroutine, resumes_once_for_each_wait_however_deep) {
  promise<int> p;
  auto f = [](future<int> f) -> future<int> {
    co_return co_await [](future<int> f) -> future<int> { co_return 1 + co_await std::move(f); }(std::move(f));
  }(p.get_future());
  p.set_value(1);
  run_queued();
  EXPECT_EQ(f.get(), 2);
}

TEST(when_all, gives_ready_futures_and_their_values) {
  promise<int> p;
  auto f = when_all(p.get_future(), make_exception_future<>(oops()));
  EXPECT_FALSE(f.available());
  p.set_value(1);
  run_queued();
  auto [a, b] = f.get();
  EXPECT_EQ(a.get(), 1);
  EXPECT_THROW(b.get(), oops);
  auto g = when_all_succeed(make_ready_future<int>(1), make_ready_future<>(), make_ready_future<std::string>("x"));
  EXPECT_EQ(g.get(), (std::tuple<int, std::string>(1, "x")));
  EXPECT_THROW(when_all_succeed(make_ready_future<>(), make_exception_future<>(oops())).get(), oops);
}

// The result was written to where the promise had been.
TEST(future, forwarding_to_a_promise_whose_future_nobody_took_drops_the_result) {
  promise<std::string> source;
  auto target = std::make_unique<promise<std::string>>();
  source.get_future().forward_to(std::move(*target));
  target.reset();
  source.set_value(std::string(100, 'x'));
  promise<std::string> other;
  make_ready_future<std::string>("ready").forward_to(std::move(other));
  run_queued();
}

// Loops over asynchronous steps.
//
//     repeat(step)                          until step gives stop_iteration::yes
//     do_until(stop, step)                  while !stop()
//     keep_doing(step)                      until a step fails
//     do_for_each(range, step)              one after another
//     parallel_for_each(range, f)           all at once; one of the failures is the loop's
//     max_concurrent_for_each(range, n, f)  at most n at a time; starts no more after a failure
//
// Each is a coroutine: one allocation a loop, none a step; steps that are ready run inline until the task quota is used
// up. The functions live in the loop's frame and are never moved once called, so they may be coroutines with captures.
//
// Borrows: the range or the pair of iterators, which must stay valid until the loop's future is ready.
// Errors: what a step throws or fails with ends the loop. Context: shard-local.
#pragma once

#include "framework/future/future.hh"

#include <ranges>
#include <vector>

namespace solaster {

enum class stop_iteration : bool { no, yes };

namespace internal {

// Waits for all and fails with the last failure.
future<> wait_for_all(std::vector<future<>> running, std::exception_ptr failure);

}  // namespace internal

template <typename Step>
future<> repeat(Step step) {
  while (co_await futurize_invoke(step) == stop_iteration::no) {
  }
}

template <typename Stop, typename Step>
future<> do_until(Stop stop, Step step) {
  while (!stop()) {
    co_await futurize_invoke(step);
  }
}

template <typename Step>
future<> keep_doing(Step step) {
  for (;;) {
    co_await futurize_invoke(step);
  }
}

template <typename Iterator, typename Sentinel, typename Step>
future<> do_for_each(Iterator i, Sentinel end, Step step) {
  for (; i != end; ++i) {
    co_await futurize_invoke(step, *i);
  }
}
template <std::ranges::range Range, typename Step>
future<> do_for_each(Range& range, Step step) {
  return do_for_each(std::ranges::begin(range), std::ranges::end(range), std::move(step));
}

template <typename Iterator, typename Sentinel, typename Func>
future<> parallel_for_each(Iterator i, Sentinel end, Func func) {
  std::vector<future<>> running;
  std::exception_ptr failure;
  for (; i != end; ++i) {
    auto f = futurize_invoke(func, *i);
    if (!f.available()) {
      running.push_back(std::move(f).discard_result());
    } else if (f.failed()) {
      failure = f.get_exception();
    } else {
      f.ignore_ready_future();
    }
  }
  co_await internal::wait_for_all(std::move(running), std::move(failure));
}
template <std::ranges::range Range, typename Func>
future<> parallel_for_each(Range&& range, Func func) {
  return parallel_for_each(std::ranges::begin(range), std::ranges::end(range), std::move(func));
}

// `limit` workers share the iterator; each takes the next element when it has finished one.
template <typename Iterator, typename Sentinel, typename Func>
future<> max_concurrent_for_each(Iterator i, Sentinel end, size_t limit, Func func) {
  bool failed = false;
  auto worker = [&]() -> future<> {
    while (i != end && !failed) {
      Iterator mine = i;
      ++i;
      auto f = co_await coroutine::as_future(futurize_invoke(func, *mine));
      if (f.failed()) {
        failed = true;
        co_await coroutine::exception(f.get_exception());
      }
      f.ignore_ready_future();
    }
  };
  std::vector<future<>> workers;
  for (size_t n = 0; n < (limit ? limit : 1) && i != end && !failed; ++n) {
    workers.push_back(worker());
  }
  co_await internal::wait_for_all(std::move(workers), nullptr);
}
template <std::ranges::range Range, typename Func>
future<> max_concurrent_for_each(Range&& range, size_t limit, Func func) {
  return max_concurrent_for_each(std::ranges::begin(range), std::ranges::end(range), limit, std::move(func));
}

}  // namespace solaster

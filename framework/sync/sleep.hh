// Waiting for time to pass, and giving up on what takes too long.
//
//     co_await sleep(100ms);
//     co_await sleep_abortable(1s, abort_source);           sleep_aborted when asked to stop
//     co_await with_timeout(5s, read());                    timed_out_error; nobody wants the read any more
//
// Context: shard-local.
#pragma once

#include "framework/future/future.hh"
#include "framework/reactor/timer.hh"
#include "framework/sync/abort_source.hh"

#include <exception>
#include <memory>
#include <new>

namespace solaster {

struct sleep_aborted : std::exception {
  const char* what() const noexcept override { return "sleep aborted"; }
};
struct timed_out_error : std::exception {
  const char* what() const noexcept override { return "timed out"; }
};

template <typename Clock = steady_clock>
future<> sleep(delay d) {
  promise<> done;
  timer<Clock> t([&] { done.set_value(); });
  t.arm(d);
  co_await done.get_future();
}

future<> sleep_abortable(delay d, abort_source& as);

namespace internal {

// A future and a deadline; whichever comes first decides. It is the task that waits for the future, and frees itself.
template <typename T>
class timeout_race final : task {
  future<T> _waited;
  promise<T> _result;
  timer<> _deadline;

  explicit timeout_race(future<T>&& f) noexcept : task(&finish), _waited(std::move(f)) { _waited.set_waiter(this); }

  static void finish(task* t) noexcept {
    std::unique_ptr<timeout_race> race(static_cast<timeout_race*>(t));
    if (race->_waited.available()) {
      race->_waited.forward_to(std::move(race->_result));
    }
  }
  void expire() noexcept {
    if (!_waited.available()) {  // else finish() is queued
      _waited.give_up();
      _result.set_exception(timed_out_error());
      schedule(this);  // not here: the timer is still in its callback
    }
  }

 public:
  static future<T> start(instant deadline, future<T>&& f) noexcept {
    auto* race = new (std::nothrow) timeout_race(std::move(f));
    if (!race) {
      f.give_up();
      return make_exception_future<T>(std::bad_alloc());
    }
    auto result = race->_result.get_future();
    race->_deadline.set_callback([race] { race->expire(); });
    race->_deadline.arm(deadline);
    return result;
  }
};

}  // namespace internal

// The result of `f`, or timed_out_error at the deadline. What works for `f` is not stopped, but its result is not
// wanted any more: a wait for a semaphore's units or a queue's item takes none, a late failure is not reported.
template <typename T>
future<T> with_timeout(instant deadline, future<T> f) noexcept {
  if (f.available()) {
    return f;
  }
  return internal::timeout_race<T>::start(deadline, std::move(f));
}
template <typename T>
future<T> with_timeout(delay d, future<T> f) noexcept {
  return with_timeout(steady_clock::now() + duration(d), std::move(f));
}

}  // namespace solaster

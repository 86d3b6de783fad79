// Waiting for time to pass, and giving up on what takes too long.
//
//     co_await sleep(100ms);
//     co_await sleep_abortable(1s, abort_source);           sleep_aborted when asked to stop
//     co_await with_timeout(5s, read());                    timed_out_error; the read goes on and its result is dropped
//
// Context: shard-local.
#pragma once

#include "framework/future/future.hh"
#include "framework/reactor/timer.hh"
#include "framework/sync/abort_source.hh"

#include <exception>
#include <optional>

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

// Shared by the two that race; the later one frees it.
template <typename T>
struct timeout_race {
  promise<T> result;
  timer<> deadline;
  bool decided = false;
};

}  // namespace internal

// The result of `f`, or timed_out_error at the deadline. `f` itself is not cancelled.
template <typename T>
future<T> with_timeout(instant deadline, future<T> f) {
  if (f.available()) {
    return f;
  }
  auto* race = new internal::timeout_race<T>();
  auto result = race->result.get_future();
  race->deadline.set_callback([race] {
    race->decided = true;
    race->result.set_exception(timed_out_error());
  });
  race->deadline.arm(deadline);
  (void)std::move(f).then_wrapped([race](future<T> done) noexcept {
    if (race->decided) {
      if (done.failed()) {
        (void)done.get_exception();  // the caller was told already that it is late
      } else {
        done.ignore_ready_future();
      }
    } else {
      done.forward_to(std::move(race->result));
    }
    delete race;
  });
  return result;
}
template <typename T>
future<T> with_timeout(delay d, future<T> f) {
  return with_timeout(steady_clock::now() + duration(d), std::move(f));
}

}  // namespace solaster

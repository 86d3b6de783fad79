// Waiting until somebody says that something changed.
//
//     co_await cv.wait([&] { return !queue.empty(); });
//
// Errors: condition_variable_timed_out, broken_condition_variable. Context: shard-local.
#pragma once

#include "framework/future/future.hh"
#include "framework/sync/semaphore.hh"

#include <exception>

namespace solaster {

struct condition_variable_timed_out : std::exception {
  const char* what() const noexcept override { return "timed out waiting for a condition variable"; }
};
struct broken_condition_variable : std::exception {
  const char* what() const noexcept override { return "broken condition variable"; }
};

class condition_variable {
  // Nobody's units: a signal gives one only when somebody waits.
  semaphore _sem{0};

  void give(size_t signals) noexcept {
    _sem.signal(signals);
    _sem.consume(_sem.current());  // what was meant for waits that were given up is nobody's
  }

  static future<> translate(future<> f) noexcept {
    return f.handle_exception_type<semaphore_timed_out>(
        [](semaphore_timed_out&) { return make_exception_future<>(condition_variable_timed_out()); });
  }

 public:
  condition_variable() noexcept = default;
  ~condition_variable() { broken(); }

  future<> wait() noexcept { return _sem.wait(); }
  future<> wait(delay timeout) noexcept { return translate(_sem.wait(timeout)); }
  future<> wait(instant deadline) noexcept { return translate(_sem.wait(deadline)); }

  // Until the predicate holds.
  template <std::predicate Predicate>
  future<> wait(Predicate holds) {
    while (!holds()) {
      co_await wait();
      if (!co_await coroutine::is_wanted()) {
        signal();  // was another's
        co_await coroutine::quit();
      }
    }
  }
  template <std::predicate Predicate>
  future<> wait(instant deadline, Predicate holds) {
    while (!holds()) {
      co_await wait(deadline);
      if (!co_await coroutine::is_wanted()) {
        signal();  // was another's
        co_await coroutine::quit();
      }
    }
  }
  template <std::predicate Predicate>
  future<> wait(delay timeout, Predicate holds) {
    return wait(steady_clock::now() + duration(timeout), std::move(holds));
  }

  bool has_waiters() const noexcept { return _sem.waiters() != 0; }
  void signal() noexcept { give(has_waiters() ? 1 : 0); }
  void broadcast() noexcept { give(_sem.waiters()); }
  void broken() noexcept { _sem.broken(std::make_exception_ptr(broken_condition_variable())); }
};

}  // namespace solaster

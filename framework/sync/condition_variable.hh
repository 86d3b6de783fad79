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
    }
  }
  template <std::predicate Predicate>
  future<> wait(instant deadline, Predicate holds) {
    while (!holds()) {
      co_await wait(deadline);
    }
  }
  template <std::predicate Predicate>
  future<> wait(delay timeout, Predicate holds) {
    return wait(steady_clock::now() + duration(timeout), std::move(holds));
  }

  bool has_waiters() const noexcept { return _sem.waiters() != 0; }
  void signal() noexcept {
    if (has_waiters()) {
      _sem.signal();
    }
  }
  void broadcast() noexcept { _sem.signal(_sem.waiters()); }
  void broken() noexcept { _sem.broken(std::make_exception_ptr(broken_condition_variable())); }
};

}  // namespace solaster

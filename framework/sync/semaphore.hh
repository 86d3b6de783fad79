// Counted permission: wait(n) takes n units when there are that many, first come first served; signal(n) gives them
// back.
//
//     auto units = co_await get_units(_memory, request_size);      // given back when `units` dies
//
// Errors: semaphore_timed_out, broken_semaphore (or what broken() was given), abort_requested.
// A wait whose future was dropped or given up (with_timeout) takes no units; it leaves the queue when it comes to the
// front at a signal() or at another wait().
// Context: shard-local. wait() that must wait allocates.
#pragma once

#include "framework/future/future.hh"
#include "framework/reactor/timer.hh"
#include "framework/sync/abort_source.hh"

#include <cstdint>
#include <exception>

namespace solaster {

struct semaphore_timed_out : std::exception {
  const char* what() const noexcept override { return "timed out waiting for a semaphore"; }
};
struct broken_semaphore : std::exception {
  const char* what() const noexcept override { return "broken semaphore"; }
};

class semaphore {
 public:
  explicit semaphore(size_t count) noexcept : _count(ptrdiff_t(count)) {}
  semaphore(const semaphore&) = delete;
  ~semaphore() { fail_all(std::make_exception_ptr(broken_semaphore())); }

  // Takes `units` at once, if there are that many and nobody is before us.
  bool try_wait(size_t units = 1) noexcept {
    if (_broken || !may_proceed(units)) {
      return false;
    }
    _count -= ptrdiff_t(units);
    return true;
  }
  future<> wait(size_t units = 1) noexcept {
    if (try_wait(units)) [[likely]] {
      return make_ready_future<>();
    }
    return enqueue(units, instant::never(), nullptr);
  }
  future<> wait(instant deadline, size_t units = 1) noexcept {
    return try_wait(units) ? make_ready_future<>() : enqueue(units, deadline, nullptr);
  }
  future<> wait(delay timeout, size_t units = 1) noexcept {
    return try_wait(units) ? make_ready_future<>() : enqueue(units, steady_clock::now() + duration(timeout), nullptr);
  }
  future<> wait(abort_source& as, size_t units = 1) noexcept {
    return try_wait(units) ? make_ready_future<>() : enqueue(units, instant::never(), &as);
  }

  void signal(size_t units = 1) noexcept {
    _count += ptrdiff_t(units);
    if (_waiters.linked()) {
      wake_waiters();
    }
  }
  // Takes units without waiting; the count may go below zero.
  void consume(size_t units = 1) noexcept { _count -= ptrdiff_t(units); }

  // Everybody who waits, and everybody who comes, fails.
  void broken() noexcept { broken(std::make_exception_ptr(broken_semaphore())); }
  void broken(std::exception_ptr ex) noexcept {
    _broken = ex;
    fail_all(std::move(ex));
  }

  ptrdiff_t available_units() const noexcept { return _count; }
  size_t current() const noexcept { return _count > 0 ? size_t(_count) : 0; }
  size_t waiters() const noexcept { return _waiting; }
  // The count of those who wait is right, and the first of them really has to. Linear.
  bool is_valid() const noexcept;

 private:
  struct waiter;
  bool may_proceed(size_t units) const noexcept { return !_waiters.linked() && _count >= 0 && size_t(_count) >= units; }
  future<> enqueue(size_t units, instant deadline, abort_source* as) noexcept;
  void wake_waiters() noexcept;
  void fail_all(const std::exception_ptr& ex) noexcept;

  ptrdiff_t _count;
  size_t _waiting = 0;
  timer_link _waiters;
  std::exception_ptr _broken;
};

// Units that are given back when this dies.
class [[nodiscard]] semaphore_units {
  semaphore* _sem = nullptr;
  size_t _n = 0;

 public:
  semaphore_units() noexcept = default;
  semaphore_units(semaphore& s, size_t n) noexcept : _sem(&s), _n(n) {}
  semaphore_units(semaphore_units&& x) noexcept : _sem(std::exchange(x._sem, nullptr)), _n(std::exchange(x._n, 0)) {}
  semaphore_units& operator=(semaphore_units&& x) noexcept {
    if (this != &x) {
      return_all();
      _sem = std::exchange(x._sem, nullptr);
      _n = std::exchange(x._n, 0);
    }
    return *this;
  }
  ~semaphore_units() { return_all(); }

  size_t count() const noexcept { return _n; }
  void return_units(size_t n) noexcept {
    _n -= n;
    _sem->signal(n);
  }
  void return_all() noexcept {
    if (_n != 0) {
      return_units(_n);
    }
  }
  // The units stay taken; the caller signals them itself.
  size_t release() noexcept { return std::exchange(_n, 0); }
  semaphore_units split(size_t n) noexcept {
    _n -= n;
    return semaphore_units(*_sem, n);
  }
  void adopt(semaphore_units&& other) noexcept { _n += other.release(); }
};

template <typename... Limit>
future<semaphore_units> get_units(semaphore& s, size_t units, Limit&&... limit) noexcept {
  return s.wait(std::forward<Limit>(limit)..., units).then([&s, units] { return semaphore_units(s, units); });
}

inline semaphore_units consume_units(semaphore& s, size_t units) noexcept {
  s.consume(units);
  return semaphore_units(s, units);
}

// Runs func while holding the units; func lives until its future is ready.
template <typename Func>
auto with_semaphore(semaphore& s, size_t units, Func func) -> futurize_t<std::invoke_result_t<Func&>> {
  auto held = co_await get_units(s, units);
  co_return co_await futurize_invoke(func);
}

}  // namespace solaster

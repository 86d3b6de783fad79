// What makes future<T> a coroutine's return type and an operand of co_await. Included by future.hh.
//
// A coroutine runs at once up to its first wait; its frame is its one allocation. Awaiting a ready future does not
// suspend unless the task quota is used up. If the frame cannot be allocated the caller gets an exceptional future
// (std::bad_alloc).
//
//     auto f = co_await coroutine::as_future(read());       // the future itself, so that a failure is not thrown
//     co_await coroutine::exception(ex);                    // fails this coroutine without throwing; does not return
//     co_await coroutine::maybe_yield();                    // lets others run when the quota is used up
//     if (!co_await coroutine::is_wanted()) ...             // whether somebody still waits for this coroutine
#pragma once

#include "framework/future/future.hh"

#include <coroutine>
#include <new>

namespace solaster {
namespace internal {

template <typename T>
class coroutine_promise_base : public task {
 protected:
  typed_promise<T> _result;

  explicit coroutine_promise_base(run_function run) noexcept : task(run) {}

 public:
  future<T> get_return_object() noexcept { return _result.get_future(); }
  static future<T> get_return_object_on_allocation_failure() noexcept {
    return make_exception_future<T>(std::bad_alloc());
  }
  std::suspend_never initial_suspend() noexcept { return {}; }
  std::suspend_never final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { _result.set_exception(std::current_exception()); }
  void fail(std::exception_ptr ex) noexcept { _result.set_exception(std::move(ex)); }
  bool is_wanted() const noexcept { return _result.is_wanted(); }
};

template <typename T>
class coroutine_promise final : public coroutine_promise_base<T> {
  static void resume(task* t) noexcept {
    std::coroutine_handle<coroutine_promise>::from_promise(*static_cast<coroutine_promise*>(t)).resume();
  }

 public:
  coroutine_promise() noexcept : coroutine_promise_base<T>(&resume) {}
  template <typename V>
  void return_value(V&& v) {
    this->_result.set_value(std::forward<V>(v));
  }
  void return_value(T&& v) { this->_result.set_value(std::move(v)); }
};

template <>
class coroutine_promise<void> final : public coroutine_promise_base<void> {
  static void resume(task* t) noexcept {
    std::coroutine_handle<coroutine_promise>::from_promise(*static_cast<coroutine_promise*>(t)).resume();
  }

 public:
  coroutine_promise() noexcept : coroutine_promise_base<void>(&resume) {}
  void return_void() noexcept { _result.set_value(); }
};

// Waits in place: the future stays where it is (in the coroutine's frame) and its promise is told whom to wake.
template <typename T>
class future_awaiter {
 protected:
  future<T>* _f;

 public:
  explicit future_awaiter(future<T>& f) noexcept : _f(&f) {}
  bool await_ready() const noexcept { return _f->available() && !need_preempt(); }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> h) noexcept {
    if (_f->available()) {
      schedule(&h.promise());
    } else {
      _f->_promise->_task = &h.promise();
    }
  }
  T await_resume() {
    if constexpr (std::is_void_v<T>) {
      (void)_f->_state.take();
    } else {
      return _f->_state.take();
    }
  }
};

// The same, without taking the result.
template <typename T>
class result_awaiter : public future_awaiter<T> {
 public:
  using future_awaiter<T>::future_awaiter;
  void await_resume() noexcept {}
};

template <typename T>
class as_future_awaiter : public future_awaiter<T> {
  future<T> _own;

 public:
  explicit as_future_awaiter(future<T>&& f) noexcept : future_awaiter<T>(_own), _own(std::move(f)) {}
  as_future_awaiter(const as_future_awaiter&) = delete;
  future<T> await_resume() noexcept { return std::move(_own); }
};

}  // namespace internal

template <typename T>
internal::future_awaiter<T> operator co_await(future<T>&& f) noexcept {
  return internal::future_awaiter<T>(f);
}

namespace coroutine {

// co_await gives the future itself, ready.
template <typename T>
internal::as_future_awaiter<T> as_future(future<T>&& f) noexcept {
  return internal::as_future_awaiter<T>(std::move(f));
}

// co_await waits until `f` is ready and leaves the result in it. `f` must stay where it is.
template <typename T>
internal::result_awaiter<T> wait_for(future<T>& f) noexcept {
  return internal::result_awaiter<T>(f);
}

// co_await fails the coroutine with `ex`, without the cost of a throw.
class exception {
  std::exception_ptr _ex;

 public:
  explicit exception(std::exception_ptr ex) noexcept : _ex(std::move(ex)) {}
  template <typename E>
    requires(std::derived_from<std::remove_cvref_t<E>, std::exception>)
  explicit exception(E&& e) : _ex(std::make_exception_ptr(std::forward<E>(e))) {}
  bool await_ready() const noexcept { return false; }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> h) noexcept {
    h.promise().fail(std::move(_ex));
    h.destroy();
  }
  [[noreturn]] void await_resume() noexcept { internal::die("resumed after coroutine::exception"); }
};

// co_await says whether this coroutine's own future is still there: false when it was dropped or given up.
class is_wanted {
  bool _answer = true;

 public:
  bool await_ready() const noexcept { return false; }
  template <typename P>
  bool await_suspend(std::coroutine_handle<P> h) noexcept {
    _answer = h.promise().is_wanted();
    return false;
  }
  bool await_resume() const noexcept { return _answer; }
};

// co_await ends a coroutine that nobody wants, without a result.
struct quit {
  bool await_ready() const noexcept { return false; }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> h) noexcept {
    h.destroy();
  }
  void await_resume() noexcept {}
};

namespace internal_yield {
struct awaiter {
  bool always;
  bool await_ready() const noexcept { return !always && !need_preempt(); }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> h) noexcept {
    schedule(&h.promise());
  }
  void await_resume() noexcept {}
};
}  // namespace internal_yield

// Goes to the end of the task queue: always, or only when the quota is used up.
inline internal_yield::awaiter yield() noexcept {
  return {true};
}
inline internal_yield::awaiter maybe_yield() noexcept {
  return {false};
}

}  // namespace coroutine
}  // namespace solaster

template <typename T, typename... A>
struct std::coroutine_traits<solaster::future<T>, A...> {
  using promise_type = solaster::internal::coroutine_promise<T>;
};

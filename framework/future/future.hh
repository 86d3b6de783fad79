// future<T> and promise<T>: the two ends of a result that may not be there yet.
//
// A future that is ready costs a tag and its value: then() calls its function at once and co_await does not suspend,
// both unless the task quota is used up. A future that is not ready costs one allocation per then() (the continuation)
// and none per co_await (the coroutine's frame holds the state). Where the result goes is a pointer in the promise;
// moving either end updates the other.
//
//     future<> serve(connected_socket s);                  // a coroutine, the first way to write code
//     return s.read().then([](auto buf) { ... });          // a continuation, for hot paths
//
// Rules: a future is awaited, returned, chained or handed to a gate, never dropped. An exception that nobody looked at
// is reported in the log when the future dies, or when it comes and the future is gone already. A coroutine must not be
// a lambda with captures unless the lambda outlives it: the captures live in the lambda, not in the frame (see
// docs/tutorial.md); pass values as parameters instead.
//
// Owns: the value. Errors: exceptions travel in the future; get() and co_await rethrow.
// Context: shard-local: both ends belong to one shard.
#pragma once

#include "framework/future/future_state.hh"
#include "framework/future/task.hh"
#include "framework/memory/reserve.hh"

#include <concepts>
#include <exception>
#include <type_traits>
#include <utility>

namespace solaster {

template <typename T = void>
class [[nodiscard]] future;
template <typename T = void>
class promise;

// What a future holds when its promise died without a result.
struct broken_promise : std::exception {
  const char* what() const noexcept override { return "broken promise"; }
};

template <typename T>
inline constexpr bool is_future = false;
template <typename T>
inline constexpr bool is_future<future<T>> = true;

template <typename T>
struct futurize {
  using type = future<T>;
  using value_type = T;
};
template <typename T>
struct futurize<future<T>> {
  using type = future<T>;
  using value_type = T;
};
template <typename T>
using futurize_t = typename futurize<T>::type;

namespace internal {

class future_base;
template <typename T>
class future_awaiter;
template <typename T>
class result_awaiter;

void report_ignored_failure(std::exception_ptr ex) noexcept;

// Stands where a promise keeps who waits for it when the future was given up: its failure is not worth a line.
struct given_up_mark final : task {
  constexpr given_up_mark() noexcept : task(nullptr) {}
};
extern constinit given_up_mark given_up;

class promise_base {
 public:
  promise_base(promise_base&& x) noexcept;
  promise_base& operator=(promise_base&& x) noexcept;
  ~promise_base() {
    if (_future || _task) [[unlikely]] {
      abandon();
    }
  }

 protected:
  friend class future_base;
  template <typename T>
  friend class future_awaiter;
  template <typename T>
  friend class result_awaiter;
  template <typename T>
  friend class solaster::future;

  future_base* _future = nullptr;       // the linked future, while it lives and has no continuation
  future_state_base* _state = nullptr;  // where the result goes; null when nobody wants it
  task* _task = nullptr;                // who waits for it

  promise_base() noexcept = default;
  explicit promise_base(future_state_base* s) noexcept : _state(s) {}

 public:
  // False when the future was dropped or given up, or has its result.
  bool is_wanted() const noexcept { return _state != nullptr; }

 protected:
  void report_unwanted_failure(std::exception_ptr ex) noexcept;
  void abandon() noexcept;
  inline void make_ready() noexcept;
};

class future_base {
 protected:
  friend class promise_base;
  template <typename T>
  friend class future_awaiter;
  template <typename T>
  friend class result_awaiter;
  promise_base* _promise = nullptr;

  future_base() noexcept = default;
  void link(promise_base* p, future_state_base* s) noexcept {
    DCHECK(!p->_future && !p->_task);  // one future a promise
    _promise = p;
    p->_future = this;
    p->_state = s;
  }
  // Takes over x's promise, if any.
  void relink(future_base& x, future_state_base* s) noexcept {
    _promise = x._promise;
    if (_promise) {
      _promise->_future = this;
      _promise->_state = s;
      x._promise = nullptr;
    }
  }
  promise_base* detach() noexcept {
    promise_base* p = _promise;
    p->_future = nullptr;
    p->_state = nullptr;
    _promise = nullptr;
    return p;
  }
  ~future_base() {
    if (_promise) {
      detach();
    }
  }
};

inline promise_base::promise_base(promise_base&& x) noexcept
    : _future(std::exchange(x._future, nullptr)),
      _state(std::exchange(x._state, nullptr)),
      _task(std::exchange(x._task, nullptr)) {
  if (_future) {
    _future->_promise = this;
  }
}

// What this promise had to keep is broken.
inline promise_base& promise_base::operator=(promise_base&& x) noexcept {
  if (this != &x) {
    this->~promise_base();
    new (this) promise_base(std::move(x));
  }
  return *this;
}

inline void promise_base::make_ready() noexcept {
  if (_future) {
    _future->_promise = nullptr;
    _future = nullptr;
  }
  _state = nullptr;
  if (_task) {
    schedule(_task);
    _task = nullptr;
  }
}

// A promise whose future is taken at once, so that it needs no state of its own.
template <typename T>
class typed_promise : public promise_base {
 public:
  typed_promise() noexcept = default;
  typed_promise(typed_promise&&) noexcept = default;
  typed_promise& operator=(typed_promise&&) noexcept = default;

  future<T> get_future() noexcept;

  template <typename... A>
  void set_value(A&&... a) {
    if (_state) [[likely]] {
      static_cast<future_state<T>*>(_state)->set(std::forward<A>(a)...);
      make_ready();
    }
  }
  // A failure that nobody waits for any more is reported in the log.
  void set_exception(std::exception_ptr ex) noexcept {
    if (_state) [[likely]] {
      _state->set_exception(std::move(ex));
      make_ready();
    } else {
      report_unwanted_failure(std::move(ex));
    }
  }
  template <typename E>
    requires(!std::same_as<std::remove_cvref_t<E>, std::exception_ptr>)
  void set_exception(E&& ex) noexcept {
    set_exception(std::make_exception_ptr(std::forward<E>(ex)));
  }
  void set_state(future_state<T>&& s) noexcept {
    if (_state) [[likely]] {
      *static_cast<future_state<T>*>(_state) = std::move(s);
      make_ready();
    } else if (s.failed()) {
      report_unwanted_failure(s.take_exception());
    }
  }

 protected:
  explicit typed_promise(future_state<T>* s) noexcept : promise_base(s) {}
};

// What waits for a future with then(): the state, the promise of the result and the function, in one allocation.
template <typename T, typename U, typename Func>
struct continuation final : task {
  future_state<T> state;
  typed_promise<U> result;
  [[no_unique_address]] Func func;

  template <typename F>
  explicit continuation(F&& f) : task(&run), func(std::forward<F>(f)) {}
  static void run(task* t) noexcept {
    auto* c = static_cast<continuation*>(t);
    c->func(std::move(c->result), std::move(c->state));
    delete c;
  }
};

template <typename T, typename Func>
struct then_result {
  using type = std::invoke_result_t<Func, T>;
};
template <typename Func>
struct then_result<void, Func> {
  using type = std::invoke_result_t<Func>;
};

}  // namespace internal

template <typename T>
class promise : public internal::typed_promise<T> {
  internal::future_state<T> _local;
  using base = internal::typed_promise<T>;

 public:
  promise() noexcept : base(&_local) {}
  promise(promise&& x) noexcept : base(std::move(x)), _local(std::move(x._local)) { fix(x); }
  ~promise() {
    if (_local.failed()) [[unlikely]] {
      internal::report_ignored_failure(_local.take_exception());  // nobody took the future
    }
  }
  promise& operator=(promise&& x) noexcept {
    if (this != &x) {
      base::operator=(std::move(x));
      _local = std::move(x._local);
      fix(x);
    }
    return *this;
  }

  // Once.
  future<T> get_future() noexcept {
    if (_local.available()) {
      return future<T>(std::move(_local));
    }
    return base::get_future();
  }

 private:
  friend class future<T>;
  // Nobody has taken the future yet: a result would be kept in here.
  bool is_unobserved() const noexcept { return this->_state == &_local; }
  void fix(promise& x) noexcept {
    if (this->_state == &x._local) {
      this->_state = &_local;
    }
  }
};

template <typename T>
class [[nodiscard]] future : private internal::future_base {
  using state_type = internal::future_state<T>;
  [[no_unique_address]] state_type _state;

  template <typename U>
  friend class future;
  template <typename U>
  friend class internal::typed_promise;
  template <typename U>
  friend class promise;
  template <typename U>
  friend class internal::future_awaiter;
  template <typename U>
  friend class internal::result_awaiter;

  explicit future(internal::typed_promise<T>* p) noexcept { link(p, &_state); }

 public:
  using value_type = T;

  explicit future(state_type&& s) noexcept : _state(std::move(s)) {}
  template <typename... A>
  explicit future(std::in_place_t, A&&... a) : _state(std::in_place, std::forward<A>(a)...) {}
  future(future&& x) noexcept : _state(std::move(x._state)) { relink(x, &_state); }
  future& operator=(future&& x) noexcept {
    if (this != &x) {
      this->~future();
      new (this) future(std::move(x));
    }
    return *this;
  }
  ~future() {
    if (_state.failed()) [[unlikely]] {
      internal::report_ignored_failure(_state.take_exception());
    }
  }

  bool available() const noexcept { return _state.available(); }
  bool failed() const noexcept { return _state.failed(); }
  // Moved from or consumed when false.
  bool valid() const noexcept { return _state.valid(); }

  // The value of a ready future, or its exception thrown. The future must be ready.
  T get() {
    if (!_state.available()) [[unlikely]] {
      internal::die("get() of a future that is not ready");
    }
    if constexpr (std::is_void_v<T>) {
      (void)_state.take();
    } else {
      return _state.take();
    }
  }
  // The exception of a failed future, which then counts as looked at.
  std::exception_ptr get_exception() noexcept { return _state.take_exception(); }
  void ignore_ready_future() noexcept { _state.clear(); }
  // Nobody wants the result any more, and a failure is none of anybody's concern. What works for it goes on, but a wait
  // for units, items or signals takes none.
  void give_up() noexcept {
    if (_promise) {
      detach()->_task = &internal::given_up;
    }
    _state.clear();
  }
  // For the framework: queues `t` when this, which is not ready and stays where it is, becomes ready.
  void set_waiter(task* t) noexcept {
    DCHECK(_promise && !_promise->_task);
    _promise->_task = t;
  }

  // Calls func with the value when there is one; an exception passes by it. The result is a future of what func
  // returns.
  template <typename Func, typename R = typename internal::then_result<T, Func>::type>
  futurize_t<R> then(Func&& func) noexcept {
    using U = typename futurize<R>::value_type;
    if (failed()) [[unlikely]] {
      return futurize_t<R>(internal::future_state<U>(get_exception()));
    }
    if (available() && !need_preempt()) [[likely]] {
      return call_with_value(std::forward<Func>(func), _state);
    }
    return wait<U>([func = std::forward<Func>(func)](internal::typed_promise<U>&& pr, state_type&& s) mutable noexcept {
      if (s.failed()) {
        pr.set_exception(s.take_exception());
      } else {
        call_with_value(std::move(func), s).forward_to(std::move(pr));
      }
    });
  }

  // Calls func with this future, ready, whatever it holds.
  template <typename Func, typename R = std::invoke_result_t<Func, future>>
  futurize_t<R> then_wrapped(Func&& func) noexcept {
    using U = typename futurize<R>::value_type;
    if (available() && !need_preempt()) [[likely]] {
      return call_with_future(std::forward<Func>(func), _state);
    }
    return wait<U>([func = std::forward<Func>(func)](internal::typed_promise<U>&& pr, state_type&& s) mutable noexcept {
      call_with_future(std::move(func), s).forward_to(std::move(pr));
    });
  }

  // Calls func either way, waits for what it returns, and passes this future's result on; func's own failure wins.
  template <typename Func>
  future finally(Func&& func) noexcept;

  // Calls func(std::exception_ptr) when this failed; its result (T or future<T>) takes the exception's place.
  template <typename Func>
  future handle_exception(Func&& func) noexcept {
    return then_wrapped([func = std::forward<Func>(func)](future f) mutable -> future {
      if (!f.failed()) {
        return f;
      }
      return call(std::move(func), f.get_exception());
    });
  }
  // The same for one type of exception: func(E&).
  template <typename E, typename Func>
  future handle_exception_type(Func&& func) noexcept {
    return then_wrapped([func = std::forward<Func>(func)](future f) mutable -> future {
      if (!f.failed()) {
        return f;
      }
      std::exception_ptr ex = f.get_exception();
      try {
        std::rethrow_exception(ex);
      } catch (E& e) {
        return call(std::move(func), e);
      } catch (...) {
        return future(state_type(std::move(ex)));
      }
    });
  }

  future<void> discard_result() noexcept {
    if constexpr (std::is_void_v<T>) {
      return std::move(*this);
    } else {
      return then([](T&&) noexcept {});
    }
  }

  // Makes pr's future follow this one.
  void forward_to(internal::typed_promise<T>&& pr) noexcept {
    if (available()) {
      pr.set_state(std::move(_state));
    } else if (_promise) {
      *static_cast<internal::typed_promise<T>*>(detach()) = std::move(pr);
      _state.clear();
    }
  }
  void forward_to(promise<T>&& pr) noexcept {
    if (pr.is_unobserved()) [[unlikely]] {
      (void)future(std::move(*this));  // as a future that was dropped
      return;
    }
    forward_to(static_cast<internal::typed_promise<T>&&>(pr));
  }

 private:
  // func's result as a future, whether it returns one, returns a value or throws.
  template <typename Func, typename... A, typename R = std::invoke_result_t<Func, A...>>
  static futurize_t<R> call(Func&& func, A&&... a) noexcept {
    using U = typename futurize<R>::value_type;
    try {
      if constexpr (is_future<R>) {
        return std::forward<Func>(func)(std::forward<A>(a)...);
      } else if constexpr (std::is_void_v<R>) {
        std::forward<Func>(func)(std::forward<A>(a)...);
        return future<void>(std::in_place);
      } else {
        return future<R>(std::in_place, std::forward<Func>(func)(std::forward<A>(a)...));
      }
    } catch (...) {
      return futurize_t<R>(internal::future_state<U>(std::current_exception()));
    }
  }
  template <typename Func>
  static auto call_with_value(Func&& func, state_type& s) noexcept {
    if constexpr (std::is_void_v<T>) {
      s.clear();
      return call(std::forward<Func>(func));
    } else {
      return call(std::forward<Func>(func), s.take_value());
    }
  }
  template <typename Func>
  static auto call_with_future(Func&& func, state_type& s) noexcept {
    return call(std::forward<Func>(func), future(std::move(s)));
  }
  // The slow path: one allocation.
  template <typename U, typename Func>
  [[gnu::noinline]] future<U> wait(Func&& func) noexcept {
    using waiting = internal::continuation<T, U, std::decay_t<Func>>;
    void* room = memory::allocate_or_take_reserved(sizeof(waiting));
    if (!room) [[unlikely]] {
      internal::die("out of memory, the reserve too: a continuation cannot be kept");
    }
    auto* c = new (room) waiting(std::forward<Func>(func));
    future<U> f = c->result.get_future();
    if (available()) {
      c->state = std::move(_state);
      schedule(c);
    } else {
      internal::promise_base* p = detach();
      _state.clear();
      p->_state = &c->state;
      p->_task = c;
    }
    return f;
  }

  template <typename Func, typename... A>
  friend auto futurize_invoke(Func&& func, A&&... a) noexcept;
};

namespace internal {

template <typename T>
future<T> typed_promise<T>::get_future() noexcept {
  return future<T>(this);
}

}  // namespace internal

template <typename T = void, typename... A>
future<T> make_ready_future(A&&... a) {
  return future<T>(std::in_place, std::forward<A>(a)...);
}
template <typename T = void>
future<T> make_exception_future(std::exception_ptr ex) noexcept {
  return future<T>(internal::future_state<T>(std::move(ex)));
}
template <typename T = void, typename E>
  requires(!std::same_as<std::remove_cvref_t<E>, std::exception_ptr>)
future<T> make_exception_future(E&& ex) noexcept {
  return make_exception_future<T>(std::make_exception_ptr(std::forward<E>(ex)));
}

// Calls func; what it returns or throws comes back as a future.
template <typename Func, typename... A>
auto futurize_invoke(Func&& func, A&&... a) noexcept {
  return future<void>::call(std::forward<Func>(func), std::forward<A>(a)...);
}

template <typename T>
template <typename Func>
future<T> future<T>::finally(Func&& func) noexcept {
  return then_wrapped([func = std::forward<Func>(func)](future f) mutable -> future {
    return call(std::move(func)).then_wrapped([f = std::move(f)](auto done) mutable noexcept -> future {
      if (done.failed()) {
        f.ignore_ready_future();
        return future(state_type(done.get_exception()));
      }
      return std::move(f);
    });
  });
}

}  // namespace solaster

#include "framework/future/coroutine.hh"  // IWYU pragma: export: a function that returns future<> may be a coroutine

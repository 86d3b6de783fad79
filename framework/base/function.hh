// A callable that is owned, moved and never copied: what std::function is not. Up to three words are kept inline.
//
// Context: shard-local; calling an empty one ends the program.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace solaster {

template <typename Signature>
class noncopyable_function;

template <typename R, typename... A>
class noncopyable_function<R(A...)> {
  static constexpr size_t inline_size = 3 * sizeof(void*);
  struct operations {
    R (*call)(void*, A&&...);
    void (*move)(void* to, void* from) noexcept;
    void (*destroy)(void*) noexcept;
  };
  const operations* _ops = nullptr;
  alignas(void*) std::byte _room[inline_size];

  template <typename F>
  static constexpr bool fits =
      sizeof(F) <= inline_size && alignof(F) <= alignof(void*) && std::is_nothrow_move_constructible_v<F>;

  template <typename F>
  struct inline_ops {
    static F& get(void* p) noexcept { return *std::launder(static_cast<F*>(p)); }
    static R call(void* p, A&&... a) { return get(p)(std::forward<A>(a)...); }
    static void move(void* to, void* from) noexcept {
      new (to) F(std::move(get(from)));
      get(from).~F();
    }
    static void destroy(void* p) noexcept { get(p).~F(); }
    static constexpr operations table{&call, &move, &destroy};
  };
  template <typename F>
  struct heap_ops {
    static F*& get(void* p) noexcept { return *std::launder(static_cast<F**>(p)); }
    static R call(void* p, A&&... a) { return (*get(p))(std::forward<A>(a)...); }
    static void move(void* to, void* from) noexcept { new (to) F*(get(from)); }
    static void destroy(void* p) noexcept { delete get(p); }
    static constexpr operations table{&call, &move, &destroy};
  };

 public:
  noncopyable_function() noexcept {}
  noncopyable_function(std::nullptr_t) noexcept {}
  template <typename F, typename D = std::decay_t<F>>
    requires(!std::is_same_v<D, noncopyable_function> && std::is_invocable_r_v<R, D&, A...>)
  noncopyable_function(F&& f) {
    if constexpr (fits<D>) {
      new (static_cast<void*>(_room)) D(std::forward<F>(f));
      _ops = &inline_ops<D>::table;
    } else {
      new (static_cast<void*>(_room)) D*(new D(std::forward<F>(f)));
      _ops = &heap_ops<D>::table;
    }
  }
  noncopyable_function(noncopyable_function&& x) noexcept : _ops(x._ops) {
    if (_ops) {
      _ops->move(_room, x._room);
      x._ops = nullptr;
    }
  }
  noncopyable_function& operator=(noncopyable_function&& x) noexcept {
    if (this != &x) {
      this->~noncopyable_function();
      new (this) noncopyable_function(std::move(x));
    }
    return *this;
  }
  ~noncopyable_function() {
    if (_ops) {
      _ops->destroy(_room);
    }
  }

  explicit operator bool() const noexcept { return _ops != nullptr; }
  R operator()(A... a) {
    if (!_ops) [[unlikely]] {
      __builtin_trap();
    }
    return _ops->call(_room, std::forward<A>(a)...);
  }
};

}  // namespace solaster

// The result that travels from a promise to a future: not there yet, a value, or an exception, in one word and the
// value.
//
// Owns: the value or a reference to the exception.
// Errors: none; moving a value must not throw.
#pragma once

#include "framework/base/check.hh"

#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace solaster::internal {

[[noreturn]] void die(const char* what) noexcept;

// What future<void> stores.
struct unit {};

template <typename T>
using stored_t = std::conditional_t<std::is_void_v<T>, unit, T>;

// Room for a value that is there or not; an empty type takes none.
template <typename S>
struct value_room {
  union {
    S value;
  };
  value_room() noexcept {}
  ~value_room() {}
};
template <typename S>
  requires(std::is_empty_v<S> && std::is_trivially_default_constructible_v<S>)
struct value_room<S> {
  [[no_unique_address]] S value;
};

// `_u.word` is one of the tags below, or the representation of a std::exception_ptr, which is a pointer and larger than
// any tag.
class future_state_base {
 public:
  bool available() const noexcept { return _u.word >= tag_result; }
  bool failed() const noexcept { return _u.word > tag_result; }
  bool has_value() const noexcept { return _u.word == tag_result; }
  bool valid() const noexcept { return _u.word != tag_invalid; }

  void set_exception(std::exception_ptr&& ex) noexcept {
    if (!ex) [[unlikely]] {
      die("null exception_ptr given to a promise");
    }
    new (&_u.exception) std::exception_ptr(std::move(ex));
  }
  // Leaves the state invalid.
  std::exception_ptr take_exception() noexcept {
    DCHECK(failed());
    std::exception_ptr ex = std::move(_u.exception);
    _u.exception.~exception_ptr();
    _u.word = tag_invalid;
    return ex;
  }
  const std::exception_ptr& exception() const noexcept { return _u.exception; }

 protected:
  static constexpr uintptr_t tag_invalid = 0;  // moved from or consumed
  static constexpr uintptr_t tag_pending = 1;
  static constexpr uintptr_t tag_result = 2;

  static_assert(sizeof(std::exception_ptr) == sizeof(uintptr_t));
  union word_or_exception {
    uintptr_t word;
    std::exception_ptr exception;
    word_or_exception(uintptr_t w) noexcept : word(w) {}
    ~word_or_exception() {}
  } _u;

  explicit future_state_base(uintptr_t tag) noexcept : _u(tag) {}
};
static_assert(sizeof(future_state_base) == sizeof(void*));

template <typename T>
class future_state : public future_state_base {
  using stored = stored_t<T>;
  static_assert(std::is_nothrow_move_constructible_v<stored>, "a future's value must move without throwing");
  static_assert(std::is_same_v<stored, std::remove_cvref_t<stored>>, "a future's value must be a plain type");

  [[no_unique_address]] value_room<stored> _room;

 public:
  future_state() noexcept : future_state_base(tag_pending) {}
  template <typename... A>
  explicit future_state(std::in_place_t, A&&... a) : future_state_base(tag_result) {
    std::construct_at(std::addressof(_room.value), std::forward<A>(a)...);
  }
  explicit future_state(std::exception_ptr&& ex) noexcept : future_state_base(tag_invalid) {
    set_exception(std::move(ex));
  }
  future_state(future_state&& x) noexcept : future_state_base(x._u.word) { steal(x); }
  future_state& operator=(future_state&& x) noexcept {
    if (this != &x) {
      clear();
      _u.word = x._u.word;
      steal(x);
    }
    return *this;
  }
  ~future_state() { clear(); }

  template <typename... A>
  void set(A&&... a) noexcept(std::is_nothrow_constructible_v<stored, A...>) {
    std::construct_at(std::addressof(_room.value), std::forward<A>(a)...);
    _u.word = tag_result;
  }
  // There must be a value. Leaves the state invalid.
  stored take_value() noexcept {
    DCHECK(has_value());
    _u.word = tag_invalid;
    if constexpr (std::is_trivially_destructible_v<stored>) {
      return std::move(_room.value);
    } else {
      stored v = std::move(_room.value);
      std::destroy_at(std::addressof(_room.value));
      return v;
    }
  }
  // The value, or the exception thrown.
  stored take() {
    if (failed()) [[unlikely]] {
      std::rethrow_exception(take_exception());
    }
    return take_value();
  }
  stored& value() noexcept { return _room.value; }

  void clear() noexcept {
    if (_u.word > tag_result) [[unlikely]] {
      (void)take_exception();
    } else if constexpr (!std::is_trivially_destructible_v<stored>) {
      if (_u.word == tag_result) {
        std::destroy_at(std::addressof(_room.value));
      }
    }
    _u.word = tag_invalid;
  }

 private:
  void steal(future_state& x) noexcept {
    if constexpr (!std::is_empty_v<stored>) {
      if (x._u.word == tag_result) {
        std::construct_at(std::addressof(_room.value), std::move(x._room.value));
        std::destroy_at(std::addressof(x._room.value));
      }
    }
    x._u.word = tag_invalid;
  }
};

}  // namespace solaster::internal

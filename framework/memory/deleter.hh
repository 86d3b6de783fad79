// What to do when the last user of a buffer lets go.
//
// A buffer's memory may come from malloc, from a ring of receive buffers, from a packet's fragment, from a string. A
// `deleter` owns "the rest": it frees, returns or releases the memory when the last share of it is destroyed. The
// frequent case, memory from malloc, needs no object at all.
//
// Owns:    the memory it was made for, through a count that is not atomic.
// Context: shard-local. A deleter is destroyed on the shard that made it; what has to cross goes by `foreign_ptr` or is
// copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace solaster {

class deleter {
 public:
  // Derive from this to hold a custom release, such as a packet's fragment or a buffer of a ring. `dispose` is called
  // once, when the count falls to zero, and decides what becomes of the object itself: an impl from a pool goes back to
  // the pool.
  struct impl {
    uint32_t refs = 1;
    virtual void dispose() noexcept = 0;

   protected:
    ~impl() = default;
  };

  deleter() noexcept = default;
  deleter(const deleter&) = delete;
  deleter(deleter&& o) noexcept : _bits(std::exchange(o._bits, 0)) {}
  deleter& operator=(deleter&& o) noexcept {
    if (this != &o) {
      reset();
      _bits = std::exchange(o._bits, 0);
    }
    return *this;
  }
  // Takes over one count of `i`.
  // SAFETY (file): an impl is aligned to more than 1, so the low bit of its address is free for `malloced`; so is that
  // of memory of malloc. Each cast below undoes the one that made the bits, by that bit.
  explicit deleter(impl* i) noexcept : _bits(reinterpret_cast<uintptr_t>(i)) {}
  ~deleter() { reset(); }

  explicit operator bool() const noexcept { return _bits != 0; }

  // Memory from malloc, freed by free().
  static deleter from_malloc(void* p) noexcept {
    deleter d;
    d._bits = reinterpret_cast<uintptr_t>(p) | malloced;
    return d;
  }

  // A second owner. Allocates when the memory came plainly from malloc and was not shared before; throws bad_alloc.
  deleter share();

  // Destroys `next` too when this one's count falls to zero.
  void append(deleter next);

  void reset() noexcept {
    if (_bits == 0) {
      return;
    }
    if (_bits & malloced) {
      std::free(reinterpret_cast<void*>(_bits & ~malloced));
    } else if (impl* i = get_impl(); --i->refs == 0) {
      i->dispose();
    }
    _bits = 0;
  }

 private:
  static constexpr uintptr_t malloced = 1;
  impl* get_impl() const noexcept { return reinterpret_cast<impl*>(_bits); }

  // 0 is "nothing to do"; the lowest bit says that the rest is a pointer for free(); else an impl.
  uintptr_t _bits = 0;
};

namespace internal {

template <typename F>
struct function_deleter final : deleter::impl {
  F func;
  explicit function_deleter(F&& f) : func(std::move(f)) {}
  void dispose() noexcept override {
    func();
    delete this;
  }
};

}  // namespace internal

// Calls `f()` when the last owner is gone. Allocates.
template <typename F>
deleter make_deleter(F f) {
  return deleter(new internal::function_deleter<F>(std::move(f)));
}

// Keeps `o` alive until the last owner is gone, then destroys it. Allocates.
template <typename T>
deleter make_object_deleter(T&& o) {
  return make_deleter([o = std::forward<T>(o)]() mutable { (void)o; });
}

inline deleter deleter::share() {
  if (_bits == 0) {
    return {};
  }
  if (_bits & malloced) {
    void* p = reinterpret_cast<void*>(_bits & ~malloced);
    auto free_it = [p] { std::free(p); };
    // Only now: were this to throw, the memory would still be ours as it was.
    _bits = reinterpret_cast<uintptr_t>(
        static_cast<impl*>(new internal::function_deleter<decltype(free_it)>(std::move(free_it))));
  }
  impl* i = get_impl();
  ++i->refs;
  return deleter(i);
}

inline void deleter::append(deleter next) {
  if (!next) {
    return;
  }
  if (!*this) {
    *this = std::move(next);
    return;
  }
  *this = make_object_deleter(std::pair<deleter, deleter>(std::move(*this), std::move(next)));
}

}  // namespace solaster

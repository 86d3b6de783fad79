// Spinlocks with ranks: a lock may be taken only while every lock held has a lower rank, so there is no deadlock by
// order.
//
// Taken with interrupts off always (kernel code is not preempted, but interrupts take these locks too).
// Context: any. Hold for a bounded, short time; never sleep, never touch program memory under one.
#pragma once

#include <atomic>

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel {

enum class rank : u8 {
  any = 0,  // outermost, for code above this layer
  object = 10,
  signal = 15,
  futex = 20,
  wait_queue = 30,
  thread_list = 35,
  scheduler = 40,
  timer = 50,
  heap = 60,
  frames = 70,
  kernel_map = 65,
  entropy = 75,
  console = 80,
  log = 90
};

class spinlock {
 public:
  explicit constexpr spinlock(rank r) : _rank(r) {}
  spinlock(const spinlock&) = delete;
  void lock() {  // interrupts must be off
    per_cpu* c = this_cpu_data();
    const u32 held = c->locks_held;
    if (held && (held >= ranks_max || c->lock_ranks[held - 1] >= static_cast<u8>(_rank))) [[unlikely]]
      wrong_use();
    u32 expected = 0;
    if (!_owner.compare_exchange_strong(expected, c->lock_owner, std::memory_order_acquire, std::memory_order_relaxed))
        [[unlikely]]
      wait_for_owner(c);
    c->lock_ranks[held] = static_cast<u8>(_rank);
    c->locks_held = held + 1;
  }
  void unlock() {
    per_cpu* c = this_cpu_data();
    if (_owner.load(std::memory_order_relaxed) != c->lock_owner) [[unlikely]]
      wrong_use();
    c->locks_held--;
    _owner.store(0, std::memory_order_release);
  }
  bool try_lock();

 private:
  static constexpr u32 ranks_max = sizeof(per_cpu::lock_ranks);

  [[gnu::cold]] void wait_for_owner(const per_cpu* c);
  [[gnu::cold, noreturn]] static void wrong_use();  // not by rank, or not by who holds it: CHECKs of every build

  std::atomic<u32> _owner{0};  // per_cpu::lock_owner; 0: nobody
  rank _rank;
};

// Interrupts off and the lock held, for a scope.
class lock_guard {
 public:
  explicit lock_guard(spinlock& l) : _lock(&l), _flags(save_flags_and_disable()) { _lock->lock(); }
  ~lock_guard() { unlock(); }
  lock_guard(const lock_guard&) = delete;
  void unlock() {
    if (_lock) {
      _lock->unlock();
      restore_flags(_flags);
      _lock = nullptr;
    }
  }

 private:
  spinlock* _lock;
  u64 _flags;
};

// Data that is reachable only under its lock: guarded<T, rank> g; { auto p = g.lock(); p->field; }
template <typename T, rank Rank>
class guarded {
 public:
  class access {
   public:
    explicit access(guarded& g) : _guard(g._lock), _value(&g._value) {}
    T* operator->() { return _value; }
    T& operator*() { return *_value; }

   private:
    lock_guard _guard;
    T* _value;
  };
  access lock() { return access(*this); }

 private:
  friend class access;
  spinlock _lock{Rank};
  T _value{};
};

}  // namespace solaster::kernel

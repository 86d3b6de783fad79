// Sleeping until something becomes true, and a mutex that sleeps.
//
// wait_queue: the condition is tested under no lock of the queue, and may itself sleep (on a mutex, say); a wake
// between the test and the sleep is not lost, because the thread is on the queue before it tests, and the wake is kept
// in the waiter until this very wait looks at it. The mutex does not spin on a holder that is not running. Context:
// thread (wait, mutex); wake_* from interrupts too.
#pragma once

#include "kernel/lib/types.hh"
#include "kernel/sync/park.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel {

struct thread;

struct waiter {
  waiter* next = nullptr;
  waiter* previous = nullptr;
  thread* who = nullptr;
  bool queued = false;
  // Set by a wake of this queue, taken by the wait that it is for. The thread's token cannot stand for it: a sleep on
  // something else, inside the condition, takes that.
  std::atomic<bool> woken{false};
};

enum class wait_result : u8 { done, timed_out, interrupted };

class wait_queue {
 public:
  constexpr wait_queue() = default;
  wait_queue(const wait_queue&) = delete;

  // Puts the current thread on the queue / takes it off. Several queues at once are fine (poll): one waiter for each.
  void add(waiter& w);
  void remove(waiter& w);
  // Until the waiter is woken (done), the deadline, or a signal.
  wait_result sleep(waiter& w, u64 deadline, bool interruptible);
  usize wake_one();
  usize wake_all();
  bool is_valid();

  // Sleeps until condition() or the deadline; with `interruptible`, also until a signal is pending (interrupted).
  template <typename Condition>
  wait_result wait(Condition condition, u64 deadline = never, bool interruptible = true);

 private:
  bool is_surely_empty();
  void link(waiter& w);
  void wake(waiter& w);
  bool is_linked() const;  // under the lock

  spinlock _lock{rank::wait_queue};
  waiter* _first = nullptr;
  waiter* _last = nullptr;
};

class mutex {
 public:
  constexpr mutex() = default;
  mutex(const mutex&) = delete;
  void lock() {
    thread* nobody = nullptr;
    if (_starving.load() != 0 || !_owner.compare_exchange_strong(nobody, current())) [[unlikely]]
      lock_slowly();
  }
  bool try_lock() {
    thread* nobody = nullptr;
    return _owner.compare_exchange_strong(nobody, current());
  }
  void unlock() {
    if (!is_mine()) [[unlikely]]
      wrong_use();
    _owner.store(nullptr);
    if (_waiting.load() != 0) [[unlikely]]
      wake_next();
  }
  bool is_mine() const { return _owner.load(std::memory_order_relaxed) == current(); }

 private:
  [[gnu::cold]] void lock_slowly();
  [[gnu::cold]] void wake_next();
  [[gnu::cold, noreturn]] static void wrong_use();

  std::atomic<thread*> _owner{nullptr};
  std::atomic<u32> _waiting{0};
  std::atomic<u32> _starving{0};  // waiters that have been passed over too often: only they may take it
  wait_queue _queue;
};

class mutex_guard {
 public:
  explicit mutex_guard(mutex& m) : _mutex(m) { _mutex.lock(); }
  ~mutex_guard() { _mutex.unlock(); }
  mutex_guard(const mutex_guard&) = delete;

 private:
  mutex& _mutex;
};

}  // namespace solaster::kernel

#include "kernel/sync/wait_queue_inline.hh"

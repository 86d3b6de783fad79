// A unit of work that the reactor runs once: a continuation, a coroutine's resumption, a repeater. Tasks sit in an
// intrusive FIFO, so that queueing one is two stores and allocates nothing; the function pointer stands where a vtable
// would be, which saves a load for each task run.
//
// Owns: nothing. A task disposes of itself (or of nothing) when it runs.
// Context: shard-local. Queueing a task from a thread without a reactor is allowed; it runs if that thread gets one.
#pragma once

#include "framework/base/check.hh"

#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>

namespace solaster {

class task {
 public:
  using run_function = void (*)(task*) noexcept;

  explicit constexpr task(run_function run) noexcept : _run(run) {}
  task(const task&) = delete;
  task& operator=(const task&) = delete;

  // Runs the task once. It must have been taken off its queue; it may be gone when this returns.
  void run_and_dispose() noexcept { _run(this); }

 protected:
  ~task() = default;

 private:
  friend class task_queue;
  task* _next = nullptr;
  run_function _run;
};

// A FIFO of tasks. `_tail` points to the null link that ends the list.
class task_queue {
 public:
  constexpr task_queue() noexcept = default;
  task_queue(const task_queue&) = delete;
  task_queue& operator=(const task_queue&) = delete;

  bool empty() const noexcept { return _head == nullptr; }

  void push_back(task* t) noexcept {
    t->_next = nullptr;
    if (_last) [[likely]] {
      _last->_next = t;
    } else {
      _head = t;
    }
    _last = t;
  }

  // Forgets the tasks; they are not disposed of.
  void clear() noexcept { _head = _last = nullptr; }

  // The queue must not be empty.
  task* pop_front() noexcept {
    DCHECK(!empty());
    task* t = _head;
    _head = t->_next;
    if (!_head) {
      _last = nullptr;
    }
    return t;
  }

 private:
  task* _head = nullptr;
  task* _last = nullptr;  // null when the queue is empty
};

namespace internal {

inline constexpr unsigned no_shard_id = UINT_MAX;

// Not zero when the running task should give way: set at the end of the quota, or when a timer is due, by what the back
// end has for that, and by other threads that have something for this shard. The run loop clears it before it looks for
// what it may have stood for, so that none is missed. It lies where the back end's interrupt can write it.
using preempt_flag = std::atomic<uint32_t>;
// For threads that are no shard: nobody sets it.
inline constinit preempt_flag never_preempted{0};

// What the hot path touches, in one place of thread-local storage: constant-initialised and trivially destroyed, so an
// access is one instruction off the thread pointer.
struct shard_hot_state {
  task_queue tasks;
  preempt_flag* preempt = &never_preempted;
  unsigned shard_id = no_shard_id;
  // Time as of this turn of the run loop, in nanoseconds of the steady clock; 0 outside a reactor.
  int64_t loop_now_ns = 0;
};

[[gnu::tls_model("local-exec")]] extern constinit thread_local shard_hot_state hot;

}  // namespace internal

// Queues `t` behind what is already runnable on this shard.
inline void schedule(task* t) noexcept {
  internal::hot.tasks.push_back(t);
}

// True when the running task should give way. Ready futures are followed inline until it says so. Costs a load.
inline bool need_preempt() noexcept {
  return internal::hot.preempt->load(std::memory_order_relaxed) != 0;
}

}  // namespace solaster

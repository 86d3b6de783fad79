// A unit of work that the reactor runs once: a continuation, a coroutine's resumption, a repeater. Tasks sit in an
// intrusive FIFO, so that queueing one is two stores and allocates nothing; the function pointer stands where a vtable
// would be, which saves a load for each task run.
//
// Owns: nothing. A task disposes of itself (or of nothing) when it runs.
// Context: shard-local. Queueing a task from a thread without a reactor is allowed; it runs if that thread gets one.
#pragma once

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

  void push_front(task* t) noexcept {
    t->_next = _head;
    _head = t;
    if (!_last) {
      _last = t;
    }
  }

  // Forgets the tasks; they are not disposed of.
  void clear() noexcept { _head = _last = nullptr; }

  // The queue must not be empty.
  task* pop_front() noexcept {
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

// What the hot path touches, in one place of thread-local storage: constant-initialised and trivially destroyed, so an
// access is one instruction off the thread pointer.
struct shard_hot_state {
  task_queue tasks;
  // need_preempt() counts down from preempt_check_interval before it looks at the clock.
  int preempt_budget = 1;
  unsigned shard_id = 0;
  // Time as of this turn of the run loop, in nanoseconds of the steady clock; 0 outside a reactor.
  int64_t loop_now_ns = 0;
};

inline constexpr int preempt_check_interval = 16;

[[gnu::tls_model("local-exec")]] extern constinit thread_local shard_hot_state hot;

// Reads the clock: true when the task quota is used up, otherwise refills the budget.
bool preempt_slow_path() noexcept;

}  // namespace internal

// Queues `t` behind what is already runnable on this shard.
inline void schedule(task* t) noexcept {
  internal::hot.tasks.push_back(t);
}

// Queues `t` in front of what is runnable on this shard.
inline void schedule_urgent(task* t) noexcept {
  internal::hot.tasks.push_front(t);
}

// True when the running task has used up its quota and should give way. Ready futures are followed inline until it says
// so.
inline bool need_preempt() noexcept {
  if (--internal::hot.preempt_budget > 0) [[likely]] {
    return false;
  }
  return internal::preempt_slow_path();
}

}  // namespace solaster

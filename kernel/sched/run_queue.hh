// A CPU's run queue. Private to sched/.
#pragma once

#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/sched/thread.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel::sched {

// A thread on a queue is `ready`; it may still be on its CPU for the few instructions until it has switched away
// (on_cpu), so only its own CPU takes it then.
struct alignas(64) run_queue {
  spinlock lock{rank::scheduler};
  thread* first = nullptr;
  thread* last = nullptr;
  std::atomic<u32> count{0};

  void push(thread* t) {
    t->next_ready = nullptr;
    if (last) {
      last->next_ready = t;
    } else {
      first = t;
    }
    last = t;
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void take(thread* previous, thread* t) {
    if (previous) {
      previous->next_ready = t->next_ready;
    } else {
      first = t->next_ready;
    }
    if (last == t)
      last = previous;
    count.store(count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  }
};

run_queue& queue_of(unsigned cpu);

// Time a thread runs while others wait, and before a newly woken one may push it aside.
inline constexpr u64 slice_ns = 3'000'000;
inline constexpr u64 granularity_ns = 1'000'000;

void make_ready(thread* t);
void destroy(thread* t);
// End of this CPU's current slice (never: none is running out).
u64& slice_end();

}  // namespace solaster::kernel::sched

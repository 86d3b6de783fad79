// A CPU's run queue. Private to sched/.
#pragma once

#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/lib/panic.hh"
#include "kernel/sched/thread.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel::sched {

// First in, first out. A thread on a queue is `ready` and says so in queued_on; it may still be on its CPU, on the way
// out or because the CPU idles on its stack (on_cpu), so only its own CPU takes it then.
struct alignas(64) run_queue {
  spinlock lock{rank::scheduler};
  thread* first = nullptr;
  thread* last = nullptr;
  std::atomic<u32> count{0};  // written under the lock, read by anybody as a hint

  void push(thread* t, unsigned cpu) {
    t->next_ready = nullptr;
    (last ? last->next_ready : first) = t;
    last = t;
    t->queued_on.store(static_cast<i32>(cpu), std::memory_order_relaxed);
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    KDCHECK(is_valid(cpu));
  }
  void take(thread* previous, thread* t) {
    (previous ? previous->next_ready : first) = t->next_ready;
    if (last == t)
      last = previous;
    t->queued_on.store(-1, std::memory_order_relaxed);
    count.store(count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  }
  // Under the lock.
  bool is_valid(unsigned cpu) const {
    u32 n = 0;
    const thread* end = nullptr;
    for (const thread* t = first; t; end = t, t = t->next_ready, n++) {
      if (t->state.load() != thread_state::ready || t->queued_on.load() != static_cast<i32>(cpu) || t->is_idle)
        return false;
    }
    return end == last && n == count.load();
  }
};

run_queue& queue_of(unsigned cpu);

inline bool may_run_on(const thread* t, unsigned cpu) {
  return t->affinity.load() >> cpu & 1;
}

// Before a newly woken one may push it aside a thread runs at least this long.
inline constexpr u64 granularity_ns = 1'000'000;
inline constexpr u64 slice_min_ns = 100'000;

void make_ready(thread* t);
// End of this CPU's current slice (never: none is running out).
inline u64& slice_end() {
  return this_cpu_data()->slice_end;
}

}  // namespace solaster::kernel::sched

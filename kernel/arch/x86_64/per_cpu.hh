// Per-CPU data, reached by GS, which belongs to the kernel: programs cannot change its base (arch_prctl refuses,
// FSGSBASE is off). Context: any with interrupts off, or for values where a migration in between does no harm.
#pragma once

#include <atomic>

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel {

struct thread;
struct run_queue;

struct cpu_statistics {
  u64 interrupts = 0;
  u64 timer_interrupts = 0;
  u64 ipis = 0;
  u64 context_switches = 0;
  u64 idle_ns = 0;
  u64 tlb_flushes = 0;
  u64 page_faults = 0;
  u64 system_calls = 0;
};

struct stack_range {
  u64 low = 0, high = 0;
  bool contains(u64 a) const { return a > low && a <= high; }
};

struct alignas(64) per_cpu {
  // Offsets 0..39 are known to entry.S.
  per_cpu* self = nullptr;
  thread* current = nullptr;
  u64 scratch = 0;
  u32 need_resched = 0;
  u32 number = 0;
  u64 system_calls = 0;

  u32 apic_id = 0;
  u32 lock_owner = 1;      // number + 1: how a spinlock names who holds it
  u32 locks_held = 0;      // spinlocks
  u8 lock_ranks[16] = {};  // of the locks held, rising
  stack_range interrupt_stack, exception_stack, nmi_stack, double_fault_stack, machine_check_stack;
  thread* idle = nullptr;
  thread* switched_from = nullptr;  // between the switch of stacks and its end: the thread before
  u64 slice_end = ~u64{0};          // of the running thread; ~0: none is running out
  thread* xstate_owner = nullptr;   // whose extended state the registers hold
  u64 fs_base = 0;                  // what the MSR holds
  cpu_statistics statistics;
  std::atomic<u32> is_lazy{0};         // idle: TLB flushes may wait
  std::atomic<u32> is_stale{0};        // a flush was left for when the CPU wakes
  std::atomic<bool> is_idling{false};  // in the halt of the scheduler: a thread put on its queue needs an interrupt
  u64 idle_since_ns = 0;
  u64 timer_armed_for = ~u64{0};  // when the local timer will interrupt
  std::atomic<bool> is_online{false};
  std::atomic<u64> reschedules{0};  // reschedule interrupts taken: who waits for one sees it change
};

// SAFETY (file): GS is the CPU's per_cpu from its first instruction in C++ on (platform/smp.cc).
#define SOLASTER_GS_READ(type, offset)                             \
  ({                                                               \
    type value_;                                                   \
    asm volatile("mov %%gs:%c1, %0" : "=r"(value_) : "i"(offset)); \
    value_;                                                        \
  })

inline per_cpu* this_cpu_data() {
  return SOLASTER_GS_READ(per_cpu*, 0);
}
inline u32 this_cpu_number() {
  return SOLASTER_GS_READ(u32, 28);
}
inline bool need_resched() {
  return SOLASTER_GS_READ(u32, 24) != 0;
}
inline void set_need_resched() {
  asm volatile("movl $1, %%gs:24" ::: "memory");
}

static_assert(offsetof(per_cpu, current) == 8 && offsetof(per_cpu, scratch) == 16 &&
              offsetof(per_cpu, need_resched) == 24 && offsetof(per_cpu, number) == 28 &&
              offsetof(per_cpu, system_calls) == 32);

per_cpu& cpu_data(unsigned cpu);
const cpu_statistics& statistics_of(unsigned cpu);

}  // namespace solaster::kernel

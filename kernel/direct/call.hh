// The way into the kernel by a plain call. Private to direct/.
//
// A direct call runs at depth 1: no signal is delivered and the thread is not preempted; on the way out, what came
// meanwhile is done through a software interrupt, as if the program had been interrupted there. It stays on the
// caller's stack while it is short; what may sleep or needs room switches to the thread's kernel stack, which is empty
// then.
#pragma once

#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/arch/x86_64/traps.hh"
#include "kernel/include/solaster/direct.h"
#include "kernel/sched/thread.hh"

namespace solaster::kernel::direct {

// Makes what a direct call may use of its caller's stack present (SOLASTER_DIRECT_STACK, at most two pages), while a
// fault is still the program's own: at depth 0 and with interrupts on. Inside, a fault could not be served where
// interrupts are off.
[[gnu::always_inline]] inline void touch_stack() {
  // SAFETY: it changes no bit.
  asm volatile("orl $0, %c0(%%rsp)" ::"i"(-static_cast<int>(SOLASTER_DIRECT_STACK)) : "memory", "cc");
}

class call_scope {
 public:
  call_scope() : _thread(current()) {
    touch_stack();
    _thread->depth.store(_thread->depth.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  ~call_scope() {
    _thread->depth.store(_thread->depth.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    if (need_resched() || _thread->work_pending.load(std::memory_order_relaxed))
      // SAFETY: the handler does what a return to the program does, then comes back here.
      asm volatile("int $0xf0" ::: "memory");
  }
  call_scope(const call_scope&) = delete;

 private:
  thread* _thread;
};

// Runs body() on the thread's kernel stack at depth 1.
template <typename Body>
auto on_kernel_stack(Body body) {
  call_scope scope;
  using value = decltype(body());
  struct package {
    Body* body;
    value result;
  } p{&body, {}};
  (void)call_on_stack(
      [](void* argument) -> u64 {
        auto* q = static_cast<package*>(argument);
        q->result = (*q->body)();
        return 0;
      },
      &p, current()->kernel_stack_top);
  return p.result;
}

}  // namespace solaster::kernel::direct

// The scheduler's inside: what interrupts, SMP start and boot call.
#pragma once

#include "kernel/sched/thread.hh"

namespace solaster::kernel::sched {

// Makes the code that runs now on `cpu` its idle thread (boot, and each CPU's start). `stack_top` is the stack it runs
// on.
void adopt_idle(unsigned cpu, u64 stack_top);
// Never returns: runs threads, sleeps when there are none.
[[noreturn]] void idle_loop();
// Gives the CPU away if somebody else is to run; from thread context with interrupts on or off.
void reschedule();
void on_timer_interrupt();
void set_cpu_count(unsigned n);
void set_online(unsigned cpu);
// Timers of this CPU: fires what is due; the next deadline (never: none). Interrupts off.
u64 run_timers(u64 now);
void rearm_local_timer();

}  // namespace solaster::kernel::sched

// How a thread sleeps and is woken, as far as locks and wait queues need it: defined in kernel/sched, which stands
// above.
#pragma once

#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel {

struct thread;
inline thread* current() {
  return SOLASTER_GS_READ(thread*, 8);
}

namespace sched {

enum class park_result : u8 { woken, timed_out };

park_result park(u64 deadline = never);
void unpark(thread* t);  // any context
// True when work_pending is set for the current thread: an interruptible wait ends with EINTR.
bool is_interrupted();

}  // namespace sched
}  // namespace solaster::kernel

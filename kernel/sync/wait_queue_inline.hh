// Template bodies of wait_queue.hh.
#pragma once

#include "kernel/sync/park.hh"
#include "kernel/sync/wait_queue.hh"

namespace solaster::kernel {

template <typename Condition>
wait_result wait_queue::wait(Condition condition, u64 deadline, bool interruptible) {
  waiter w;
  add(w);
  wait_result r = wait_result::done;
  while (!condition()) {
    if (interruptible && sched::is_interrupted()) {
      r = wait_result::interrupted;
      break;
    }
    if (sched::park(deadline) == sched::park_result::timed_out) {
      r = condition() ? wait_result::done : wait_result::timed_out;
      break;
    }
  }
  remove(w);
  return r;
}

}  // namespace solaster::kernel

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
    r = sleep(w, deadline, interruptible);
    if (r == wait_result::interrupted)
      break;
    if (r == wait_result::timed_out) {
      if (condition())
        r = wait_result::done;
      break;
    }
  }
  remove(w);
  return r;
}

}  // namespace solaster::kernel

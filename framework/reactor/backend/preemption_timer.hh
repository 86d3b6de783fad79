// Sets this thread's preemption flag at an instant: a POSIX timer whose signal goes to the thread, whose handler
// stores 1.
//
// The signal is blocked while the shard sleeps (sleeping_mask()), so that a timer left over from the last busy turn
// wakes nobody. It may interrupt a system call of the program with EINTR where SA_RESTART does not help (nanosleep,
// poll).
//
// Spec:    timer_create(2), SIGEV_THREAD_ID.
// Owns:    the timer; the handler of `signal_number()` is the process's.
// Errors:  the constructor throws std::system_error.
// Context: the shard's own thread. Costs a system call an arming, so the reactor arms it at most once in a quota.
#pragma once

#include "framework/reactor/time.hh"

#include <csignal>
#include <ctime>

namespace solaster {

class preemption_timer {
 public:
  preemption_timer();
  preemption_timer(const preemption_timer&) = delete;
  ~preemption_timer();

  void arm(instant at) noexcept;
  internal::preempt_flag& flag() noexcept { return _flag; }
  // What the thread blocks while it sleeps.
  sigset_t* sleeping_mask() noexcept { return &_sleeping_mask; }

  static int signal_number() noexcept { return SIGRTMIN + 1; }

 private:
  timer_t _timer{};
  sigset_t _sleeping_mask;
  alignas(64) internal::preempt_flag _flag{0};  // on a line of its own: other shards write it
};

}  // namespace solaster

// The monotonic clock (nanoseconds since boot), wall time, and one-shot timers.
//
// Spec: TSC scaled by a calibration against the PIT; refined while running, never backwards.
// Context: any. Timers fire in interrupt context on the CPU that armed them.
#pragma once

#include "kernel/lib/types.hh"

struct solaster_clock;

namespace solaster::kernel {

u64 now_ns();       // CLOCK_MONOTONIC
i64 realtime_ns();  // CLOCK_REALTIME, since 1970
void set_realtime_ns(i64 now);
const char* wall_clock_name();  // "cmos", "kvmclock" or "none"
const solaster_clock* clock_parameters();
u64 tsc_hz();

struct timer {
  void (*fire)(timer*) = nullptr;  // interrupt context
  // private to sched/
  u64 deadline = never;
  i32 cpu = -1;
  timer* left = nullptr;
  timer* right = nullptr;
  timer* parent = nullptr;
  bool is_armed = false;
};
namespace sched {
void arm(timer& t, u64 deadline_ns);  // re-arms an armed one
// After return `fire` is not running and will not run (spins while another CPU runs it; not from `fire` itself).
void cancel(timer& t);
}  // namespace sched

}  // namespace solaster::kernel

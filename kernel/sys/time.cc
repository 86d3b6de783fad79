// Clocks and sleeping.
// Spec: clock_gettime(2), clock_nanosleep(2), nanosleep(2), gettimeofday(2), times(2), getrusage(2).

#include "kernel/abi/time.hh"

#include "kernel/abi/task.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/sched/clock.hh"
#include "kernel/sys/call.hh"
#include "kernel/task/signal.hh"

namespace solaster::kernel::sys {

namespace {

constexpr u64 second = abi::ns_per_s;
constexpr u64 tick_ns = second / 100;  // of times(2): AT_CLKTCK is 100

abi::timespec timespec_of(i64 ns) {
  return {ns / i64(second), ns % i64(second)};
}
abi::timeval timeval_of(u64 ns) {
  return {i64(ns / second), i64(ns % second / 1000)};
}

// EINVAL: no such thread.
result<i64> thread_cpu_ns(int tid) {
  if (tid == 0)
    return i64(sched::cpu_time_ns(current()));
  auto& p = task::the_process();
  lock_guard guard(p.signal_lock);
  for (auto* t = p.threads; t; t = t->next) {
    if (t->tid == tid)
      return i64(sched::cpu_time_ns(t->who));
  }
  return errc::inval;
}

// EINVAL: no such clock.
result<i64> read_clock(int id) {
  switch (id) {
    case abi::clock_realtime:
    case abi::clock_realtime_coarse:
    case abi::clock_tai:
      return realtime_ns();
    case abi::clock_monotonic:
    case abi::clock_monotonic_raw:
    case abi::clock_monotonic_coarse:
    case abi::clock_boottime:
      return i64(now_ns());
    case abi::clock_process_cputime_id:
      return i64(task::process_cpu_ns());
    case abi::clock_thread_cputime_id:
      return i64(sched::cpu_time_ns(current()));
  }
  // The CPU clocks of clock_getcpuclockid and pthread_getcpuclockid: ~id << 3 | 2 (+ 4: of one thread).
  if (id < 0 && (id & 3) == 2) {
    const int who = ~(id >> 3);
    if (!(id & 4))
      return who == 0 || who == task::process_id ? result<i64>(i64(task::process_cpu_ns())) : errc::inval;
    return thread_cpu_ns(who);
  }
  return errc::inval;
}

u64 add_saturating(u64 a, u64 b) {
  u64 sum;
  return __builtin_add_overflow(a, b, &sum) ? never : sum;
}

answer sleep_until(call& c, u64 deadline, u64 remaining_to) {
  for (;;) {
    if (sched::is_interrupted()) {
      u64 now = now_ns();
      if (now >= deadline)
        return 0;
      if (remaining_to)
        TRY(write_struct(remaining_to, timespec_of(i64(deadline - now))));
      return interrupted_wait(c, deadline);
    }
    if (now_ns() >= deadline)
      return 0;
    sched::park(deadline);
  }
}

}  // namespace

result<u64> nanoseconds_of(const abi::timespec& t) {
  if (t.sec < 0 || t.nsec < 0 || t.nsec >= i64(second))
    return errc::inval;
  u64 ns;
  if (__builtin_mul_overflow(u64(t.sec), second, &ns))
    return never;
  return add_saturating(ns, u64(t.nsec));
}

errc interrupted_wait(const call& c, u64 deadline) {
  auto& t = task::current_task();
  t.restart_call = c.frame->error + 1;
  t.restart_deadline = deadline;
  return restart_with_deadline;
}

answer sys_nanosleep(call& c) {
  u64 deadline;
  if (!take_restart_deadline(deadline))
    deadline = add_saturating(now_ns(), TRY(nanoseconds_of(TRY(read_struct<abi::timespec>(c.u(0))))));
  return sleep_until(c, deadline, c.u(1));
}

answer sys_clock_nanosleep(call& c) {
  int id = c.i(0);
  if (id != abi::clock_realtime && id != abi::clock_monotonic && id != abi::clock_boottime)
    return id == abi::clock_process_cputime_id ? errc::opnotsupp : errc::inval;
  u64 wanted = TRY(nanoseconds_of(TRY(read_struct<abi::timespec>(c.u(2)))));
  if (!(c.i(1) & abi::timer_abstime)) {
    u64 deadline;
    if (!take_restart_deadline(deadline))
      deadline = add_saturating(now_ns(), wanted);
    return sleep_until(c, deadline, c.u(3));
  }
  if (id == abi::clock_realtime) {
    i64 offset = realtime_ns() - i64(now_ns());
    wanted = i64(wanted) > offset ? wanted - u64(offset) : 0;
  }
  auto r = sleep_until(c, wanted, 0);
  if (!r && r.error() == restart_with_deadline)
    return restart_without_handler;
  return r;
}

answer sys_clock_gettime(call& c) {
  i64 ns = TRY(read_clock(c.i(0)));
  TRY(write_struct(c.u(1), timespec_of(ns)));
  return 0;
}

answer sys_clock_getres(call& c) {
  TRY(read_clock(c.i(0)));
  bool coarse = c.i(0) == abi::clock_realtime_coarse || c.i(0) == abi::clock_monotonic_coarse;
  if (c.u(1))
    TRY(write_struct(c.u(1), abi::timespec{0, coarse ? 4'000'000 : 1}));
  return 0;
}

answer sys_gettimeofday(call& c) {
  if (c.u(0))
    TRY(write_struct(c.u(0), timeval_of(u64(realtime_ns()))));
  if (c.u(1))
    TRY(write_struct(c.u(1), u64{0}));  // no time zone
  return 0;
}

answer sys_time(call& c) {
  i64 now = realtime_ns() / i64(second);
  if (c.u(0))
    TRY(write_struct(c.u(0), now));
  return now;
}

answer sys_times(call& c) {
  i64 user = i64(task::process_cpu_ns() / tick_ns);
  if (c.u(0))
    TRY(write_struct(c.u(0), abi::tms{user, 0, 0, 0}));
  return i64(now_ns() / tick_ns);
}

answer sys_getrusage(call& c) {
  abi::rusage r = {};
  switch (c.i(0)) {
    case abi::rusage_self:
      r.utime = timeval_of(task::process_cpu_ns());
      break;
    case abi::rusage_thread:
      r.utime = timeval_of(sched::cpu_time_ns(current()));
      break;
    case abi::rusage_children:
      break;
    default:
      return errc::inval;
  }
  r.maxrss = i64(mm::resident_bytes() / 1024);
  TRY(write_struct(c.u(1), r));
  return 0;
}

answer sys_getitimer(call& c) {
  if (c.i(0) < 0 || c.i(0) > 2)
    return errc::inval;
  TRY(write_struct(c.u(1), abi::itimerval{}));
  return 0;
}

answer sys_alarm(call& c) {
  return c.u(0) ? answer(errc::nosys) : answer(0);
}

}  // namespace solaster::kernel::sys

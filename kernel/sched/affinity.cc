// Where a thread may run, how long its turn is, and interrupting the other CPUs for the sake of order.

#include "kernel/arch/x86_64/smp.hh"
#include "kernel/lib/panic.hh"
#include "kernel/sched/run_queue.hh"
#include "kernel/sched/scheduler.hh"

namespace solaster::kernel::sched {
namespace {

constexpr int nice_min = -20, nice_max = 19;

// Returns after each of the CPUs (a bit each, not this one) has taken an interrupt that asks it to schedule.
void interrupt_cpus(u64 wanted) {
  KCHECK(interrupts_enabled() && this_cpu_data()->locks_held == 0);
  u64 before[cpus_max];
  for (u64 left = wanted; left; left &= left - 1) {
    const unsigned cpu = static_cast<unsigned>(__builtin_ctzll(left));
    before[cpu] = cpu_data(cpu).reschedules.load();
    send_reschedule(cpu);
  }
  for (u64 left = wanted; left; left &= left - 1) {
    const unsigned cpu = static_cast<unsigned>(__builtin_ctzll(left));
    while (cpu_data(cpu).reschedules.load() == before[cpu])
      cpu_relax();
  }
}

// True: the thread waited on the queue of a CPU that it may not run on, and is on none now.
bool take_off_wrong_queue(thread* t) {
  for (;;) {
    const i32 cpu = t->queued_on.load(std::memory_order_acquire);
    if (cpu < 0 || may_run_on(t, static_cast<unsigned>(cpu)))
      return false;
    run_queue& q = queue_of(static_cast<unsigned>(cpu));
    lock_guard g(q.lock);
    if (t->queued_on.load(std::memory_order_relaxed) != cpu)
      continue;  // it was moved meanwhile
    if (t->on_cpu.load(std::memory_order_acquire))
      return false;  // on the stack of its CPU, which looks at the mask when it takes it
    thread* previous = nullptr;
    for (thread* i = q.first; i != t; i = i->next_ready)
      previous = i;
    q.take(previous, t);
    return true;
  }
}

}  // namespace

status set_affinity(thread* t, u64 mask) {
  const unsigned cpus = cpu_count();
  const u64 all = cpus == 64 ? ~u64{0} : (u64{1} << cpus) - 1;
  if (!(mask & all))
    return errc::inval;
  t->affinity.store(mask & all);  // its partner is claim()
  if (t == current()) {
    if (!may_run_on(t, this_cpu_number()))
      reschedule();
  } else if (take_off_wrong_queue(t)) {
    make_ready(t);
  } else if (t->state.load() == thread_state::running) {
    const unsigned cpu = t->cpu;
    if (!may_run_on(t, cpu) && cpu != this_cpu_number())
      interrupt_cpus(u64{1} << cpu);  // what it does next there is to look at the mask again
  }
  // Parked: the mask is looked at when it goes on.
  return {};
}

void order_all_cpus() {
  u64 others = 0;
  for (unsigned i = 0; i < cpu_count(); i++) {
    if (i != this_cpu_number() && cpu_data(i).is_online.load(std::memory_order_acquire))
      others |= u64{1} << i;
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  interrupt_cpus(others);
}

// A step of nice is a fifth to a quarter of the time, as on Linux.
void set_nice(thread* t, int nice) {
  u64 slice = slice_normal_ns;
  for (int n = nice < nice_min ? nice_min : nice; n < 0; n++)
    slice = slice * 5 / 4;
  for (int n = nice > nice_max ? nice_max : nice; n > 0; n--)
    slice = slice * 4 / 5;
  t->slice_ns.store(slice < slice_min_ns ? slice_min_ns : slice, std::memory_order_relaxed);
}

}  // namespace solaster::kernel::sched

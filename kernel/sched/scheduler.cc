// Who runs where: a first-in first-out queue for each CPU, a slice only while somebody waits, idle CPUs steal.

#include "kernel/sched/scheduler.hh"
#include "kernel/mm/user_access.hh"

#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/arch/x86_64/smp.hh"
#include "kernel/arch/x86_64/traps.hh"
#include "kernel/arch/x86_64/xstate.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sched/run_queue.hh"

namespace solaster::kernel {

std::atomic<u32>& mm::nofault_depth() {
  return current()->nofault;
}

namespace sched {
namespace {

constexpr u32 msr_fs_base = 0xc0000100;
run_queue queues[cpus_max];
unsigned cpus = 1;
std::atomic<unsigned> online{1};

bool is_idle_cpu(unsigned cpu) {
  per_cpu& c = cpu_data(cpu);
  return c.is_online.load(std::memory_order_acquire) && c.is_idling.load(std::memory_order_acquire) &&
         queues[cpu].count.load(std::memory_order_relaxed) == 0;
}

// The CPU a ready thread goes to: its last one if that is free or nobody else is, else a free one.
unsigned choose_cpu(const thread* t) {
  const unsigned home = t->cpu;
  if (cpus == 1)
    return home;
  // Still on its stack there, on the way out: only that CPU can take it.
  if (t->on_cpu.load(std::memory_order_acquire))
    return home;
  if (may_run_on(t, home) && is_idle_cpu(home))
    return home;
  unsigned best = cpus_max;
  u32 best_count = ~0u;
  for (unsigned i = 0; i < cpus; i++) {
    if (!may_run_on(t, i) || !cpu_data(i).is_online.load(std::memory_order_acquire))
      continue;
    if (is_idle_cpu(i))
      return i;
    u32 n = queues[i].count.load(std::memory_order_relaxed) * 2 + (i != home);
    if (n < best_count)
      best_count = n, best = i;
  }
  if (best != cpus_max)
    return best;
  // Bound to CPUs that are not there yet: wait for the first of them.
  for (unsigned i = 0; i < cpus; i++) {
    if (may_run_on(t, i))
      return i;
  }
  return home;
}

u64 slice_of(const thread* t) {
  return t->slice_ns.load(std::memory_order_relaxed);
}

// The CPU has more to do than it runs: make sure its slice ends.
void press(unsigned cpu) {
  per_cpu* c = this_cpu_data();
  if (cpu != c->number) {
    if (cpu_data(cpu).is_online.load(std::memory_order_acquire))
      send_reschedule(cpu);
    return;
  }
  if (c->is_idling.load(std::memory_order_relaxed)) {
    set_need_resched();
    return;
  }
  const u64 slice = slice_of(c->current);
  const u64 end = c->current->slice_start_ns + (granularity_ns < slice ? granularity_ns : slice);
  if (c->slice_end <= end)
    return;  // somebody waits already, and the timer is set
  c->slice_end = end;
  if (c->timer_armed_for <= end)
    return;  // it comes in time, and looks
  if (now_ns() >= end) {
    set_need_resched();
  } else {
    rearm_local_timer();
  }
}

// A thread that has been taken off a queue is this CPU's to run, unless its affinity says otherwise (false). Setting
// the state and reading the affinity are both sequentially consistent, as set_affinity's writing and reading of them:
// either this sees the new mask, or set_affinity sees a running thread and interrupts its CPU.
bool claim(thread* t, const per_cpu* c) {
  const bool was_on_cpu = t->on_cpu.exchange(true, std::memory_order_acquire);
  if (t->cpu != c->number) {
    t->cpu = c->number;
    if (t->saved == saved_in::area)
      t->saved = saved_in::area_only;
  }
  t->state.store(thread_state::running);
  if (may_run_on(t, c->number)) [[likely]]
    return true;
  t->state.store(was_on_cpu ? thread_state::leaving : thread_state::ready);
  if (!was_on_cpu)
    t->on_cpu.store(false, std::memory_order_release);
  return false;
}

thread* steal(const per_cpu* c) {
  for (unsigned i = 1; i < cpus; i++) {
    run_queue& q = queues[(c->number + i) % cpus];
    if (q.count.load(std::memory_order_relaxed) == 0)
      continue;
    lock_guard g(q.lock);
    thread* previous = nullptr;
    for (thread* t = q.first; t; previous = t, t = t->next_ready) {
      if (t->on_cpu.load(std::memory_order_acquire) || !may_run_on(t, c->number))
        continue;
      q.take(previous, t);
      if (claim(t, c))
        return t;
      q.push(t, static_cast<unsigned>((c->number + i) % cpus));  // the mask changed under our eyes
      break;
    }
  }
  return nullptr;
}

void save_extended(thread* t, per_cpu* c) {
  if (!t->xstate)
    return;
  if (t->light_switch) {
    xstate_save_light(t->light);
    t->saved = saved_in::light;
    c->xstate_owner = nullptr;
  } else {
    xstate_switch_out(t->xstate);
    t->saved = saved_in::area;
    c->xstate_owner = t;
  }
}

void load_extended(thread* t, per_cpu* c) {
  if (!t->xstate)
    return;
  if (t->saved == saved_in::light) {
    xstate_load_light(t->light);
    c->xstate_owner = nullptr;
  } else if (t->saved == saved_in::area_only || c->xstate_owner != t) {
    xstate_switch_in(t->xstate);
    c->xstate_owner = t;
  }
  if (c->fs_base != t->fs_base) {
    write_msr(msr_fs_base, t->fs_base);
    c->fs_base = t->fs_base;
  }
}

void account(thread* t, u64 now) {
  t->run_ns.store(t->run_ns.load(std::memory_order_relaxed) + (now - t->run_start_ns), std::memory_order_relaxed);
  t->run_start_ns = now;
}

// Runs on the new thread's stack right after the switch, interrupts off: what the switch left to do, and the registers
// of the thread that goes on, `me`.
[[gnu::always_inline]] inline void finish_switch(thread* me) {
  per_cpu* c = this_cpu_data();
  thread* before = c->switched_from;
  // Read before on_cpu goes: from then on the thread is another's, if it was made ready meanwhile.
  const thread_state s = before->state.load(std::memory_order_relaxed);
  before->on_cpu.store(false, std::memory_order_release);
  if (s == thread_state::dead) {
    drop(before);
  } else if (s == thread_state::leaving) {
    make_ready(before);
  }
  load_extended(me, c);
}

[[gnu::always_inline]] inline void switch_to(per_cpu* c, thread* me, thread* next, u64 now) {
  account(me, now);
  next->run_start_ns = now;
  next->slice_start_ns = now;
  c->statistics.context_switches++;
  next->context_switches++;
  save_extended(me, c);
  c->current = next;
  c->switched_from = me;
  switch_stacks(&me->saved_rsp, next->saved_rsp);
  finish_switch(me);
}

// The next thread of this CPU's queue, else one of another's; null: there is none. `me`, which runs, may be among them:
// if it may not stay here it is marked as leaving.
[[gnu::always_inline]] inline thread* choose_next(per_cpu* c, run_queue& q) {
  while (q.count.load(std::memory_order_relaxed)) {
    q.lock.lock();
    thread* t = q.first;
    if (!t) [[unlikely]] {  // another CPU was faster
      q.lock.unlock();
      break;
    }
    q.take(nullptr, t);
    if (claim(t, c)) [[likely]] {
      q.lock.unlock();
      return t;
    }
    q.lock.unlock();
    if (t != c->current)
      make_ready(t);  // its affinity changed while it waited here
  }
  return cpus > 1 ? steal(c) : nullptr;
}

void clear_need_resched() {
  // SAFETY: per_cpu::need_resched.
  asm volatile("movl $0, %%gs:24" ::: "memory");
}

// Sleeps until an interrupt. Interrupts off before and after.
void halt() {
  per_cpu* c = this_cpu_data();
  const u64 start = now_ns();
  c->idle_since_ns = start;
  c->is_idling.store(true, std::memory_order_release);
  // A thread put on the queue before is_idling was set was put there without an interrupt, one after it comes with one,
  // which waits for `sti`.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (queues[c->number].count.load(std::memory_order_relaxed) == 0 && !need_resched()) {
    enter_lazy_tlb();
    // SAFETY: nothing can come between sti and hlt.
    asm volatile("sti; hlt; cli" ::: "memory");
    leave_lazy_tlb();
  }
  c->is_idling.store(false, std::memory_order_relaxed);
  const u64 now = now_ns();
  c->statistics.idle_ns += now - start;
  c->idle_since_ns = 0;
  c->current->run_start_ns = now;
}

// Until there is a thread to run; null: `me` has been woken, or moved, on the way.
[[gnu::noinline]] thread* idle_in_place(thread* me) {
  per_cpu* c = this_cpu_data();
  thread* next;
  do {
    halt();
    clear_need_resched();
    next = choose_next(c, queues[c->number]);
  } while (!next && me->state.load(std::memory_order_relaxed) == thread_state::parked);
  return next;
}

// Interrupts off. The current thread's state says whether it stays ready. When there is nothing to run, the CPU idles
// right here, on the sleeping thread's stack: the common case of one thread that waits for a device costs no switch.
void schedule() {
  per_cpu* c = this_cpu_data();
  KCHECK(c->locks_held == 0);
  thread* me = c->current;
  run_queue& q = queues[c->number];
  clear_need_resched();
  if (!me->is_idle && me->state.load(std::memory_order_relaxed) == thread_state::running) {
    if (!may_run_on(me, c->number)) {
      me->state.store(thread_state::leaving, std::memory_order_relaxed);
    } else if (q.count.load(std::memory_order_relaxed) == 0) {
      c->slice_end = never;
      return;  // nobody else wants the CPU
    } else {
      q.lock.lock();
      me->state.store(thread_state::ready, std::memory_order_relaxed);
      q.push(me, c->number);
      q.lock.unlock();
    }
  }
  thread* next = choose_next(c, q);
  if (!next) {
    if (!me->is_idle && me->state.load(std::memory_order_relaxed) == thread_state::parked) {
      c->slice_end = never;
      account(me, now_ns());
      next = idle_in_place(me);
    }
    if (!next)
      next = c->idle;
  }
  const bool contended = q.count.load(std::memory_order_relaxed) && !next->is_idle;
  c->slice_end = never;
  if (next == me && !contended)
    return;
  const u64 now = now_ns();
  if (contended) {
    c->slice_end = now + slice_of(next);
    if (c->slice_end < c->timer_armed_for)
      rearm_local_timer();
  }
  if (next == me) {
    me->slice_start_ns = now;
  } else {
    switch_to(c, me, next, now);
  }
}

void on_sleep_timer(timer* t) {
  // SAFETY: only park arms this function, for the timer inside a thread.
  auto* sleeper = reinterpret_cast<thread*>(reinterpret_cast<char*>(t) - offsetof(thread, sleep_timer));
  wake_token expected = wake_token::asleep;
  if (sleeper->token.compare_exchange_strong(expected, wake_token::none))
    make_ready(sleeper);
}

}  // namespace

run_queue& queue_of(unsigned cpu) {
  return queues[cpu];
}

void make_ready(thread* t) {
  const u64 flags = save_flags_and_disable();
  KDCHECK(!t->is_idle && t->queued_on.load() == -1 && t->state.load() != thread_state::running);
  const unsigned cpu = choose_cpu(t);
  run_queue& q = queues[cpu];
  q.lock.lock();
  t->state.store(thread_state::ready, std::memory_order_relaxed);
  q.push(t, cpu);
  q.lock.unlock();
  press(cpu);
  restore_flags(flags);
}

void reschedule() {
  const u64 flags = save_flags_and_disable();
  schedule();
  restore_flags(flags);
}

void yield() {
  reschedule();
}

park_result park(u64 deadline) {
  thread* me = current();
  const u64 flags = save_flags_and_disable();
  KCHECK(flags & rflags_if);
  if (me->token.load(std::memory_order_relaxed) == wake_token::set) {
    me->token.exchange(wake_token::none);
    restore_flags(flags);
    return park_result::woken;
  }
  if (deadline != never) {
    if (now_ns() >= deadline) {
      restore_flags(flags);
      return park_result::timed_out;
    }
    me->sleep_timer.fire = on_sleep_timer;
    arm(me->sleep_timer, deadline);
  }
  me->state.store(thread_state::parked, std::memory_order_relaxed);
  wake_token seen = wake_token::none;
  if (me->token.compare_exchange_strong(seen, wake_token::asleep)) {
    schedule();
  } else {
    me->state.store(thread_state::running, std::memory_order_relaxed);
  }
  if (deadline != never)
    cancel(me->sleep_timer);
  const bool woken = me->token.exchange(wake_token::none) == wake_token::set;
  restore_flags(flags);
  return woken ? park_result::woken : park_result::timed_out;
}

void unpark(thread* t) {
  if (t->token.exchange(wake_token::set) == wake_token::asleep) {
    make_ready(t);
  } else if (t->work_pending.load(std::memory_order_acquire) && t != current() &&
             t->on_cpu.load(std::memory_order_acquire)) {
    // It runs in the program on another CPU: an interrupt brings it here to see its signal.
    send_reschedule(t->cpu);
  }
}

void sleep_until(u64 deadline) {
  while (now_ns() < deadline)
    park(deadline);
}

bool is_interrupted() {
  return current()->has_work();
}

void on_timer_interrupt() {
  const u64 now = now_ns();
  this_cpu_data()->timer_armed_for = never;
  run_timers(now);
  const unsigned me = this_cpu_number();
  if (now >= slice_end()) {
    slice_end() = never;
    if (queues[me].count.load(std::memory_order_relaxed)) {
      set_need_resched();
      for (unsigned i = 0; i < cpus; i++) {  // one that idles may take what waits here
        if (i != me && is_idle_cpu(i)) {
          send_reschedule(i);
          break;
        }
      }
    }
  }
  rearm_local_timer();
}

extern "C" [[noreturn]] void thread_first() {
  thread* me = current();
  finish_switch(me);
  rearm_local_timer();
  if (me->entry) {
    enable_interrupts();
    me->entry(me->argument);
    exit_current();
  }
  // SAFETY: create_program_thread put it there.
  auto* frame = reinterpret_cast<trap_frame*>(me->kernel_stack_top - sizeof(trap_frame));
  return_work(frame);
  return_to_frame(frame);
}

void exit_current_switch() {
  disable_interrupts();
  thread* me = current();
  me->state.store(thread_state::dead, std::memory_order_relaxed);
  per_cpu* c = this_cpu_data();
  if (c->xstate_owner == me)
    c->xstate_owner = nullptr;
  schedule();
  panic("a dead thread runs");
}

void adopt_idle(unsigned cpu, u64 stack_top) {
  per_cpu& c = cpu_data(cpu);
  auto* t = static_cast<thread*>(kzalloc(sizeof(thread)));
  KCHECK(t);
  new (t) thread;
  format_to(t->name, sizeof t->name - 1, "idle/{}", cpu);
  t->kernel_stack_top = stack_top;
  t->depth = 1;
  t->is_idle = true;
  t->cpu = cpu;
  t->affinity = u64{1} << cpu;
  t->state = thread_state::running;
  t->on_cpu = true;
  c.slice_end = never;
  c.idle = t;
  c.current = t;
}

void idle_loop() {
  disable_interrupts();
  for (;;) {
    schedule();
    halt();
  }
}

unsigned cpu_count() {
  return cpus;
}
unsigned online_count() {
  return online.load(std::memory_order_relaxed);
}
unsigned this_cpu() {
  return this_cpu_number();
}
void set_cpu_count(unsigned n) {
  cpus = n;
}
void set_online(unsigned cpu) {
  cpu_data(cpu).is_online.store(true, std::memory_order_release);
  if (cpu)
    online.fetch_add(1, std::memory_order_relaxed);
}

void set_fs_base(u64 base) {
  const u64 flags = save_flags_and_disable();
  current()->fs_base = base;
  write_msr(msr_fs_base, base);
  this_cpu_data()->fs_base = base;
  restore_flags(flags);
}

u64 cpu_time_ns(thread* t) {
  u64 ns = t->run_ns.load(std::memory_order_relaxed);
  if (t->state.load(std::memory_order_relaxed) == thread_state::running) {
    // Of a thread on another CPU this is as old as the two reads are apart.
    const u64 start = __atomic_load_n(&t->run_start_ns, __ATOMIC_RELAXED), now = now_ns();
    ns += now > start ? now - start : 0;
  }
  return ns;
}

u64 context_switch_count() {
  u64 n = 0;
  for (unsigned i = 0; i < cpus; i++)
    n += statistics_of(i).context_switches;
  return n;
}
u64 interrupt_count() {
  u64 n = 0;
  for (unsigned i = 0; i < cpus; i++) {
    const cpu_statistics& s = statistics_of(i);
    n += s.interrupts + s.timer_interrupts + s.ipis;
  }
  return n;
}
u64 idle_ns(unsigned cpu) {
  const per_cpu& c = cpu_data(cpu);
  const u64 since = __atomic_load_n(&c.idle_since_ns, __ATOMIC_RELAXED);
  const u64 now = now_ns();
  return c.statistics.idle_ns + (since && now > since ? now - since : 0);
}

}  // namespace sched
}  // namespace solaster::kernel

#include "kernel/task/signal.hh"

#include "kernel/abi/task.hh"
#include "kernel/direct/direct.hh"
#include "kernel/fs/program.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/sched/hooks.hh"

namespace solaster::kernel::task {

namespace {

constexpr signal_set ignored_by_default =
    signal_bit(abi::sig_chld) | signal_bit(abi::sig_cont) | signal_bit(abi::sig_urg) | signal_bit(abi::sig_winch);
// Job control does not exist: there is nobody to continue the program.
constexpr signal_set stopping =
    signal_bit(abi::sig_stop) | signal_bit(abi::sig_tstp) | signal_bit(abi::sig_ttin) | signal_bit(abi::sig_ttou);

constexpr signal_set caused_by_instructions = signal_bit(abi::sig_segv) | signal_bit(abi::sig_bus) |
                                              signal_bit(abi::sig_ill) | signal_bit(abi::sig_trap) |
                                              signal_bit(abi::sig_fpe) | signal_bit(abi::sig_sys);

bool is_ignored(const abi::sigaction& a, int number) {
  if (a.handler == abi::sig_ign)
    return !(unblockable & signal_bit(number));
  return a.handler == abi::sig_dfl && ((ignored_by_default | stopping) & signal_bit(number));
}

// False: a real-time signal with a siginfo of the program's own, and no room for it.
bool make_pending(process& p, pending_signals& pending, int number, const abi::siginfo& info) {
  const bool is_real_time = number >= first_real_time_signal;
  if (!is_real_time && (pending.set & signal_bit(number)))
    return true;  // the first stays
  auto* entry = !is_real_time || p.queued_signals < p.limits[abi::rlimit_sigpending].cur ? new (std::nothrow)
                                                                                               queued_signal
                                                                                         : nullptr;
  if (!entry && is_real_time && info.code != abi::si_user)
    return false;
  pending.set |= signal_bit(number);
  if (entry) {
    entry->info = info;
    (pending.last ? pending.last->next : pending.first) = entry;
    pending.last = entry;
    p.queued_signals++;
  }
  KDCHECK(pending.is_valid());
  return true;
}

// The first entry of that number, which must be pending; the next one, if there is one, keeps it so.
abi::siginfo take_entry(process& p, pending_signals& pending, int number) {
  queued_signal *found = nullptr, *before = nullptr;
  bool is_last = true;
  for (queued_signal *e = pending.first, *previous = nullptr; e; previous = e, e = e->next) {
    if (e->info.signo != number)
      continue;
    if (found) {
      is_last = false;
      break;
    }
    found = e;
    before = previous;
  }
  if (is_last)
    pending.set &= ~signal_bit(number);
  abi::siginfo info = make_siginfo(number, abi::si_user);
  if (found) {
    info = found->info;
    (before ? before->next : pending.first) = found->next;
    if (pending.last == found)
      pending.last = before;
    p.queued_signals--;
    delete found;
  } else {
    info.kill.pid = 0;  // its sender was forgotten for want of memory
  }
  KDCHECK(pending.is_valid());
  return info;
}

void discard(process& p, pending_signals& pending, int number) {
  while (pending.set & signal_bit(number))
    (void)take_entry(p, pending, number);
}

// A thread that sleeps wakes up; one that runs on another CPU is made to pass through the kernel (unpark sees to it).
void prod(task_state& t) {
  t.who->work_pending.store(1);
  sched::unpark(t.who);
}

// Under the lock. Null: every thread blocks it, and none waits for it.
task_state* find_receiver(process& p, int number) {
  task_state* found = nullptr;
  for (task_state* t = p.threads; t; t = t->next)
    if (!(t->blocked & ~t->awaited & signal_bit(number)))
      found = t;  // the last in the list is the oldest
  return found;
}

// Takes the next of `wanted`. Linux's order: SIGKILL, what an instruction caused, the lowest number; 0: none.
int take_pending(process& p, pending_signals& pending, signal_set wanted, abi::siginfo& info) {
  const signal_set ready = pending.set & wanted;
  if (!ready)
    return 0;
  signal_set among = ready;
  if (ready & signal_bit(abi::sig_kill))
    among = signal_bit(abi::sig_kill);
  else if (ready & caused_by_instructions)
    among = ready & caused_by_instructions;
  const int number = __builtin_ctzll(among) + 1;
  info = take_entry(p, pending, number);
  return number;
}

int take_next(process& p, task_state& t, abi::siginfo& info, abi::sigaction& action) {
  lock_guard guard(p.signal_lock);
  int number = take_pending(p, t.pending, ~t.blocked, info);
  if (!number)
    number = take_pending(p, p.pending, ~t.blocked, info);
  if (!number)
    return 0;
  action = p.actions[number - 1];
  if ((action.flags & abi::sa_resethand) && action.handler != abi::sig_dfl && action.handler != abi::sig_ign)
    p.actions[number - 1].handler = abi::sig_dfl;
  return number;
}

// What an interrupted system call does now: start again, or end with EINTR (Linux handle_signal,
// arch_do_signal_or_restart).
void settle_call(trap_frame* frame, bool handler_runs, bool restart_asked) {
  if (frame->vector != trap_vector_syscall)
    return;
  auto code = -i64(frame->rax);
  bool restart;
  if (code == int(restart_if_asked)) {
    restart = !handler_runs || restart_asked;
  } else if (code == int(restart_without_handler) || code == int(restart_with_deadline)) {
    restart = !handler_runs;
  } else {
    return;
  }
  if (restart) {
    frame->rax = frame->error;
    frame->rip -= 2;  // the syscall instruction
  } else {
    frame->rax = u64(-i64(errc::intr));
  }
  if (handler_runs)
    current_task().restart_call = 0;
  frame->full_return = 1;
}

// False: there is no stack for the handler.
bool run_handler(trap_frame* frame, int number, const abi::siginfo& info, const abi::sigaction& action) {
  auto& t = current_task();
  settle_call(frame, true, action.flags & abi::sa_restart);
  signal_set mask = t.restore_mask ? t.saved_mask : t.blocked;
  t.restore_mask = false;
  if (!make_signal_frame(frame, action, info, mask))
    return false;
  signal_set blocked = t.blocked | action.mask;
  if (!(action.flags & abi::sa_nodefer))
    blocked |= signal_bit(number);
  set_blocked(blocked);
  frame->full_return = 1;
  return true;
}

}  // namespace

abi::siginfo make_siginfo(int number, i32 code) {
  abi::siginfo info = {};
  info.signo = number;
  info.code = code;
  if (code == abi::si_user || code == abi::si_tkill)
    info.kill.pid = process_id;
  return info;
}

status send_to_process(int number, const abi::siginfo& info) {
  if (direct::take_signal(number))
    return {};
  auto& p = the_process();
  lock_guard guard(p.signal_lock);
  task_state* receiver = find_receiver(p, number);
  auto& action = p.actions[number - 1];
  const bool is_blocked = !receiver || (receiver->blocked & signal_bit(number));
  if (!is_blocked && is_ignored(action, number))
    return {};
  if (number == abi::sig_kill || (!is_blocked && action.handler == abi::sig_dfl)) {
    guard.unlock();
    end_process_by_signal(number);
  }
  if (!make_pending(p, p.pending, number, info))
    return errc::again;
  if (receiver)
    prod(*receiver);
  return {};
}

status send_to_thread(int tid, int number, const abi::siginfo& info) {
  auto& p = the_process();
  lock_guard guard(p.signal_lock);
  task_state* t = p.threads;
  while (t && t->tid != tid)
    t = t->next;
  if (!t)
    return errc::srch;
  if (number == 0)
    return {};
  const bool is_blocked = t->blocked & signal_bit(number);
  if (!is_blocked && is_ignored(p.actions[number - 1], number))
    return {};
  if (!make_pending(p, t->pending, number, info))
    return errc::again;
  if (!is_blocked || (t->awaited & signal_bit(number)) || number == abi::sig_kill)
    prod(*t);
  return {};
}

abi::sigaction set_action(int number, const abi::sigaction& wanted) {
  auto& p = the_process();
  lock_guard guard(p.signal_lock);
  const abi::sigaction old = p.actions[number - 1];
  p.actions[number - 1] = wanted;
  if (is_ignored(wanted, number)) {
    discard(p, p.pending, number);
    for (task_state* t = p.threads; t; t = t->next)
      discard(p, t->pending, number);
  }
  return old;
}

result<abi::siginfo> await_signal(signal_set wanted, u64 deadline) {
  auto& p = the_process();
  auto& t = current_task();
  for (bool is_late = false;;) {
    {
      lock_guard guard(p.signal_lock);
      abi::siginfo info;
      int number = take_pending(p, t.pending, wanted, info);
      if (!number)
        number = take_pending(p, p.pending, wanted, info);
      const signal_set others = (t.pending.set | p.pending.set) & ~t.blocked;
      t.awaited = number || others || is_late ? 0 : wanted;
      if (number)
        return info;
      if (others)
        return errc::intr;
      if (is_late)
        return errc::again;
      t.who->work_pending.store(0);  // whatever it said has just been looked at
    }
    // What comes from here on sets work_pending and unparks; a wake in between makes this return at once.
    is_late = !sched::is_interrupted() && sched::park(deadline) == sched::park_result::timed_out;
  }
}

void flush_pending(process& p, pending_signals& pending) {
  while (queued_signal* e = pending.first) {
    pending.first = e->next;
    p.queued_signals--;
    delete e;
  }
  pending = {};
}

void tell_others(process& p, signal_set numbers) {
  for (; numbers; numbers &= numbers - 1) {
    if (task_state* other = find_receiver(p, __builtin_ctzll(numbers) + 1))
      prod(*other);
  }
}

void set_blocked(signal_set blocked) {
  auto& p = the_process();
  auto& t = current_task();
  lock_guard guard(p.signal_lock);
  signal_set newly_blocked = (blocked & ~unblockable) & ~t.blocked;
  t.blocked = blocked & ~unblockable;
  if ((t.pending.set | p.pending.set) & ~t.blocked)
    t.who->work_pending.store(1);
  // What was meant for this thread and is now blocked in it may be another's.
  tell_others(p, p.pending.set & newly_blocked);
}

// There is no room for the handler's frame, or no handler there: SIGSEGV instead, whose own handler may have a stack.
static void fail_delivery(trap_frame* frame, int number, std::string_view reason) {
  if (number == abi::sig_segv)
    die(frame, abi::sig_segv, reason);
  force_signal(frame, make_siginfo(abi::sig_segv, abi::si_kernel), reason);
}

void force_signal(trap_frame* frame, const abi::siginfo& info, std::string_view reason) {
  auto& p = the_process();
  auto& t = current_task();
  abi::sigaction action;
  {
    lock_guard guard(p.signal_lock);
    action = p.actions[info.signo - 1];
    if (action.handler == abi::sig_dfl || action.handler == abi::sig_ign || (t.blocked & signal_bit(info.signo))) {
      guard.unlock();
      die(frame, info.signo, reason);
    }
    if (action.flags & abi::sa_resethand)
      p.actions[info.signo - 1].handler = abi::sig_dfl;
  }
  if (!run_handler(frame, info.signo, info, action))
    fail_delivery(frame, info.signo, reason);
}

void deliver_pending(trap_frame* frame) {
  auto& p = the_process();
  auto& t = current_task();
  for (;;) {
    t.who->work_pending.store(0);
    abi::siginfo info;
    abi::sigaction action;
    int number = take_next(p, t, info, action);
    if (!number)
      break;
    if (is_ignored(action, number))
      continue;
    if (action.handler == abi::sig_dfl || number == abi::sig_kill) {
      bool is_report = number == abi::sig_abrt || number == abi::sig_segv || number == abi::sig_ill ||
                       number == abi::sig_fpe || number == abi::sig_bus || number == abi::sig_trap ||
                       number == abi::sig_sys || number == abi::sig_quit;
      if (is_report)
        die(frame, number, number == abi::sig_abrt ? "abort() was called" : "sent by the program");
      end_process_by_signal(number);
    }
    if (!run_handler(frame, number, info, action))
      fail_delivery(frame, number, "a bad stack or a bad address of the handler of a signal");
    return deliver_pending(frame);  // a further signal's handler runs first, on top
  }
  settle_call(frame, false, false);
  if (t.restore_mask) {
    t.restore_mask = false;
    set_blocked(t.saved_mask);
  }
}

bool pending_signals::is_valid() const {
  signal_set seen = 0;
  const queued_signal* end = nullptr;
  for (const queued_signal* e = first; e; end = e, e = e->next) {
    const int number = e->info.signo;
    if (number < 1 || number > abi::sig_count || !(set & signal_bit(number)))
      return false;
    if (number < first_real_time_signal && (seen & signal_bit(number)))
      return false;
    seen |= signal_bit(number);
  }
  return end == last;
}

void on_return_to_program(trap_frame* frame) {
  deliver_pending(frame);
}

}  // namespace solaster::kernel::task

namespace solaster::kernel::fs {

void raise_broken_pipe() {
  (void)task::send_to_thread(task::current_task().tid, abi::sig_pipe, task::make_siginfo(abi::sig_pipe, abi::si_user));
}

void interrupt_program() {
  (void)task::send_to_process(abi::sig_int, task::make_siginfo(abi::sig_int, abi::si_kernel));
}

i32 foreground_group() {
  return task::process_id;
}

}  // namespace solaster::kernel::fs

#include "kernel/task/signal.hh"

#include "kernel/abi/task.hh"
#include "kernel/direct/direct.hh"
#include "kernel/fs/program.hh"
#include "kernel/sched/hooks.hh"

namespace solaster::kernel::task {

namespace {

constexpr signal_set ignored_by_default =
    signal_bit(abi::sig_chld) | signal_bit(abi::sig_cont) | signal_bit(abi::sig_urg) | signal_bit(abi::sig_winch);
// Job control does not exist: there is nobody to continue the program.
constexpr signal_set stopping =
    signal_bit(abi::sig_stop) | signal_bit(abi::sig_tstp) | signal_bit(abi::sig_ttin) | signal_bit(abi::sig_ttou);

bool is_ignored(const abi::sigaction& a, int number) {
  if (a.handler == abi::sig_ign)
    return !(unblockable & signal_bit(number));
  return a.handler == abi::sig_dfl && ((ignored_by_default | stopping) & signal_bit(number));
}

void make_pending(pending_signals& p, int number, const abi::siginfo& info) {
  if (p.set & signal_bit(number))
    return;  // of a number that is pending already, the first stays
  p.set |= signal_bit(number);
  p.info[number - 1] = info;
}

// A thread that sleeps wakes up; one that runs on another CPU is made to pass through the kernel (unpark sees to it).
void prod(task_state& t) {
  t.who->work_pending.store(1);
  sched::unpark(t.who);
}

// Under the lock. Null: every thread blocks it.
task_state* find_receiver(process& p, int number) {
  task_state* found = nullptr;
  for (task_state* t = p.threads; t; t = t->next)
    if (!(t->blocked & signal_bit(number)))
      found = t;  // the last in the list is the oldest
  return found;
}

// Takes the next deliverable signal; SIGKILL and faults first, as the lowest number would on Linux.
int take_pending(pending_signals& p, signal_set blocked, abi::siginfo& info) {
  signal_set ready = p.set & ~blocked;
  if (!ready)
    return 0;
  int number = __builtin_ctzll(ready & signal_bit(abi::sig_kill) ? signal_bit(abi::sig_kill) : ready) + 1;
  p.set &= ~signal_bit(number);
  info = p.info[number - 1];
  return number;
}

int take_next(process& p, task_state& t, abi::siginfo& info, abi::sigaction& action) {
  lock_guard guard(p.signal_lock);
  int number = take_pending(*t.pending, t.blocked, info);
  if (!number)
    number = take_pending(p.pending, t.blocked, info);
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

void send_to_process(int number, const abi::siginfo& info) {
  if (direct::take_signal(number))
    return;
  auto& p = the_process();
  lock_guard guard(p.signal_lock);
  task_state* receiver = find_receiver(p, number);
  auto& action = p.actions[number - 1];
  if (receiver && is_ignored(action, number))
    return;
  if (number == abi::sig_kill || (receiver && action.handler == abi::sig_dfl)) {
    guard.unlock();
    end_process_by_signal(number);
  }
  make_pending(p.pending, number, info);
  if (receiver)
    prod(*receiver);
}

bool send_to_thread(int tid, int number, const abi::siginfo& info) {
  auto& p = the_process();
  lock_guard guard(p.signal_lock);
  task_state* t = p.threads;
  while (t && t->tid != tid)
    t = t->next;
  if (!t)
    return false;
  if (number == 0)
    return true;
  bool blocked = t->blocked & signal_bit(number);
  if (!blocked && is_ignored(p.actions[number - 1], number))
    return true;
  make_pending(*t->pending, number, info);
  if (!blocked || number == abi::sig_kill)
    prod(*t);
  return true;
}

void set_blocked(signal_set blocked) {
  auto& p = the_process();
  auto& t = current_task();
  lock_guard guard(p.signal_lock);
  signal_set newly_blocked = (blocked & ~unblockable) & ~t.blocked;
  t.blocked = blocked & ~unblockable;
  if ((t.pending->set | p.pending.set) & ~t.blocked)
    t.who->work_pending.store(1);
  // What was meant for this thread and is now blocked in it may be another's.
  for (signal_set left = p.pending.set & newly_blocked; left; left &= left - 1) {
    task_state* other = find_receiver(p, __builtin_ctzll(left) + 1);
    if (other)
      prod(*other);
  }
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
    die(frame, abi::sig_segv, reason);
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
      die(frame, abi::sig_segv, "a bad stack or a bad address of the handler of a signal");
    return deliver_pending(frame);  // a further signal's handler runs first, on top
  }
  settle_call(frame, false, false);
  if (t.restore_mask) {
    t.restore_mask = false;
    set_blocked(t.saved_mask);
  }
}

void on_return_to_program(trap_frame* frame) {
  deliver_pending(frame);
}

}  // namespace solaster::kernel::task

namespace solaster::kernel::fs {

void raise_broken_pipe() {
  task::send_to_thread(task::current_task().tid, abi::sig_pipe, task::make_siginfo(abi::sig_pipe, abi::si_user));
}

void interrupt_program() {
  task::send_to_process(abi::sig_int, task::make_siginfo(abi::sig_int, abi::si_kernel));
}

i32 foreground_group() {
  return task::process_id;
}

}  // namespace solaster::kernel::fs

// The calls about signals.
// Spec: rt_sigaction(2), rt_sigprocmask(2), sigaltstack(2), kill(2), tgkill(2); Linux kernel/signal.c.

#include "kernel/task/signal.hh"

#include "kernel/abi/task.hh"
#include "kernel/abi/time.hh"
#include "kernel/sys/call.hh"

namespace solaster::kernel::sys {

namespace {

using task::signal_bit;
using task::signal_set;

bool is_signal(int n) {
  return n >= 1 && n <= abi::sig_count;
}

// kill's rule for who: the one process, under any of the names it has.
bool is_self(int pid) {
  return pid == task::process_id || pid == 0 || pid == -1 || pid == -task::process_id;
}

answer send(int tgid, int tid, int number, i32 code) {
  if (tgid != task::process_id && tgid > 0)
    return errc::srch;
  if (number < 0 || number > abi::sig_count)
    return errc::inval;
  TRY(task::send_to_thread(tid, number, task::make_siginfo(number ? number : 1, code)));
  return 0;
}

// The siginfo of rt_*sigqueueinfo. A program that signals itself may claim any origin, as on Linux.
result<abi::siginfo> read_info(u64 address, int number) {
  auto info = TRY(read_struct<abi::siginfo>(address));
  info.signo = number;
  return info;
}

}  // namespace

answer sys_rt_sigaction(call& c) {
  int number = c.i(0);
  if (c.u(3) != sizeof(signal_set))
    return errc::inval;
  if (!is_signal(number))
    return errc::inval;
  abi::sigaction wanted = {};
  if (c.u(1)) {
    if (task::unblockable & signal_bit(number))
      return errc::inval;
    wanted = TRY(read_struct<abi::sigaction>(c.u(1)));
    wanted.mask &= ~task::unblockable;
  }
  abi::sigaction old;
  if (c.u(1)) {
    old = task::set_action(number, wanted);
  } else {
    auto& p = task::the_process();
    lock_guard guard(p.signal_lock);
    old = p.actions[number - 1];
  }
  if (c.u(2))
    TRY(write_struct(c.u(2), old));
  return 0;
}

answer sys_rt_sigprocmask(call& c) {
  if (c.u(3) != sizeof(signal_set))
    return errc::inval;
  auto& t = task::current_task();
  signal_set old = t.blocked;
  if (c.u(1)) {
    auto set = TRY(read_struct<signal_set>(c.u(1)));
    switch (c.i(0)) {
      case abi::sig_block:
        task::set_blocked(old | set);
        break;
      case abi::sig_unblock:
        task::set_blocked(old & ~set);
        break;
      case abi::sig_setmask:
        task::set_blocked(set);
        break;
      default:
        return errc::inval;
    }
  }
  if (c.u(2))
    TRY(write_struct(c.u(2), old));
  return 0;
}

answer sys_rt_sigreturn(call& c) {
  if (!task::restore_signal_frame(c.frame))
    task::die(c.frame, abi::sig_segv, "bad frame in rt_sigreturn");
  return i64(c.frame->rax);
}

answer sys_rt_sigpending(call& c) {
  if (c.u(1) > sizeof(signal_set))
    return errc::inval;
  auto& p = task::the_process();
  auto& t = task::current_task();
  signal_set set;
  {
    lock_guard guard(p.signal_lock);
    set = (t.pending.set | p.pending.set) & t.blocked;
  }
  if (!mm::copy_out(c.p<void>(0), &set, c.u(1)))
    return errc::fault;
  return 0;
}

answer sys_rt_sigsuspend(call& c) {
  if (c.u(1) != sizeof(signal_set))
    return errc::inval;
  auto mask = TRY(read_struct<signal_set>(c.u(0)));
  auto& t = task::current_task();
  t.saved_mask = t.blocked;
  task::set_blocked(mask);
  while (!sched::is_interrupted())
    sched::park();
  t.restore_mask = true;
  return restart_without_handler;
}

answer sys_pause(call&) {
  while (!sched::is_interrupted())
    sched::park();
  return restart_without_handler;
}

answer sys_sigaltstack(call& c) {
  auto& t = task::current_task();
  abi::stack_t old = t.alt_stack;
  bool in_use = task::on_alternate_stack(c.frame->rsp);
  old.flags &= abi::ss_disable | abi::ss_autodisarm;
  if (in_use)
    old.flags |= abi::ss_onstack;
  if (c.u(0)) {
    auto wanted = TRY(read_struct<abi::stack_t>(c.u(0)));
    if (in_use)
      return errc::perm;
    t.alt_stack = TRY(task::check_alternate_stack(wanted));
  }
  if (c.u(1))
    TRY(write_struct(c.u(1), old));
  return 0;
}

answer sys_kill(call& c) {
  int number = c.i(1);
  if (!is_self(c.i(0)))
    return errc::srch;
  if (number < 0 || number > abi::sig_count)
    return errc::inval;
  if (number)
    TRY(task::send_to_process(number, task::make_siginfo(number, abi::si_user)));
  return 0;
}

answer sys_tgkill(call& c) {
  if (c.i(0) <= 0 || c.i(1) <= 0)
    return errc::inval;
  return send(c.i(0), c.i(1), c.i(2), abi::si_tkill);
}

answer sys_tkill(call& c) {
  if (c.i(0) <= 0)
    return errc::inval;
  return send(task::process_id, c.i(0), c.i(1), abi::si_tkill);
}

answer sys_rt_sigqueueinfo(call& c) {
  if (!is_signal(c.i(1)))
    return errc::inval;
  auto info = TRY(read_info(c.u(2), c.i(1)));
  if (!is_self(c.i(0)))
    return errc::srch;
  TRY(task::send_to_process(c.i(1), info));
  return 0;
}

answer sys_rt_tgsigqueueinfo(call& c) {
  if (!is_signal(c.i(2)))
    return errc::inval;
  auto info = TRY(read_info(c.u(3), c.i(2)));
  if (c.i(0) != task::process_id)
    return errc::srch;
  TRY(task::send_to_thread(c.i(1), c.i(2), info));
  return 0;
}

answer sys_rt_sigtimedwait(call& c) {
  if (c.u(3) != sizeof(signal_set))
    return errc::inval;
  const auto wanted = TRY(read_struct<signal_set>(c.u(0))) & ~task::unblockable;
  u64 deadline = never;
  if (c.u(2)) {
    const u64 ns = TRY(nanoseconds_of(TRY(read_struct<abi::timespec>(c.u(2)))));
    if (__builtin_add_overflow(now_ns(), ns, &deadline))
      deadline = never;
  }
  const auto info = TRY(task::await_signal(wanted, deadline));
  if (c.u(1))
    TRY(write_struct(c.u(1), info));
  return info.signo;
}

}  // namespace solaster::kernel::sys

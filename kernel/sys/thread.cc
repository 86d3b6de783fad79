// Threads, futexes, scheduling, and the end.
// Spec: clone(2), futex(2), exit_group(2), sched_setaffinity(2), membarrier(2), arch_prctl(2); Linux kernel/futex/*.

#include <cstring>

#include "kernel/abi/task.hh"
#include "kernel/lib/print.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/sched/futex.hh"
#include "kernel/sys/call.hh"
#include "kernel/task/signal.hh"

namespace solaster::kernel::sys {

namespace {

constexpr u64 thread_flags = abi::clone_vm | abi::clone_sighand | abi::clone_thread;

// What clone and clone3 agree on.
answer start_thread(call& c, const task::clone_request& r) {
  if ((r.flags & thread_flags) != thread_flags) {
    static std::atomic<bool> said{false};
    if (!said.exchange(true))
      log::warn("a new process was asked for (fork, vfork or clone): ENOSYS, there is one program");
    return errc::nosys;
  }
  if (!r.stack)
    return errc::inval;
  return task::clone_thread(*c.frame, r);
}

// The deadline of a futex wait, on the monotonic clock.
result<u64> futex_deadline(const call& c, int command, bool is_realtime) {
  u64 deadline;
  if (take_restart_deadline(deadline))
    return deadline;
  if (!c.u(3))
    return never;
  u64 wanted = TRY(nanoseconds_of(TRY(read_struct<abi::timespec>(c.u(3)))));
  if (command == abi::futex_wait) {
    u64 sum;
    return __builtin_add_overflow(now_ns(), wanted, &sum) ? never : sum;
  }
  if (!is_realtime || wanted == never)
    return wanted;
  i64 offset = realtime_ns() - i64(now_ns());
  return i64(wanted) > offset ? wanted - u64(offset) : 0;
}

answer futex_wait(call& c, int command, bool is_realtime) {
  u32 bitset = command == abi::futex_wait ? futex::match_any : u32(c.u(5));
  if (bitset == 0)
    return errc::inval;
  u64 deadline = TRY(futex_deadline(c, command, is_realtime));
  auto r = futex::wait(c.p<u32>(0), u32(c.u(2)), bitset, deadline);
  if (r)
    return 0;
  if (r.error() != errc::intr)
    return r.error();
  return deadline == never ? restart_if_asked : interrupted_wait(c, deadline);
}

// FUTEX_WAKE_OP's operation on the second word: OP << 28 | CMP << 24 | OPARG << 12 | CMPARG.
result<bool> wake_operation(u32* word, u32 encoded) {
  u32 op = encoded >> 28 & 7, cmp = encoded >> 24 & 15;
  auto extend = [](u32 v) { return u32(i32(v << 20) >> 20); };
  u32 argument = extend(encoded >> 12 & 0xfff), compared = extend(encoded & 0xfff);
  if (encoded >> 31)
    argument = 1u << (argument & 31);
  u32 old;
  if (!mm::get(old, word))
    return errc::fault;
  for (bool exchanged = false; !exchanged;) {
    u32 wanted;
    switch (op) {
      case 0:
        wanted = argument;
        break;
      case 1:
        wanted = old + argument;
        break;
      case 2:
        wanted = old | argument;
        break;
      case 3:
        wanted = old & ~argument;
        break;
      case 4:
        wanted = old ^ argument;
        break;
      default:
        return errc::nosys;
    }
    if (!mm::put(word, old))
      return errc::fault;  // writable and present from here on
    if (!mm::cmpxchg_u32_nofault(word, old, wanted, exchanged))
      return errc::fault;
  }
  switch (cmp) {
    case 0:
      return old == compared;
    case 1:
      return old != compared;
    case 2:
      return i32(old) < i32(compared);
    case 3:
      return i32(old) <= i32(compared);
    case 4:
      return i32(old) > i32(compared);
    case 5:
      return i32(old) >= i32(compared);
    default:
      return errc::nosys;
  }
}

answer futex_wake_op(call& c) {
  if (c.u(4) & 3)
    return errc::inval;
  bool second = TRY(wake_operation(c.p<u32>(4), u32(c.u(5))));
  usize woken = futex::wake(c.p<u32>(0), usize(u32(c.u(2))));
  if (second)
    woken += futex::wake(c.p<u32>(4), usize(u32(c.u(3))));
  return i64(woken);
}

// CPU masks travel in words of 64 bits; there are at most 64 CPUs here.
u64 all_cpus() {
  return sched::cpu_count() >= 64 ? ~u64{0} : (u64{1} << sched::cpu_count()) - 1;
}

// A held reference, or null.
thread* hold_thread(int tid) {
  if (tid == 0) {
    sched::hold(current());
    return current();
  }
  auto& p = task::the_process();
  lock_guard guard(p.signal_lock);
  for (auto* t = p.threads; t; t = t->next)
    if (t->tid == tid) {
      sched::hold(t->who);
      return t->who;
    }
  return nullptr;
}

}  // namespace

answer sys_clone(call& c) {
  return start_thread(c, {c.u(0) & ~u64{0xff}, c.u(1), c.u(2), c.u(3), c.u(4)});
}

answer sys_clone3(call& c) {
  u64 size = c.u(1);
  if (size < abi::clone_args_size_ver0)
    return errc::inval;
  if (size > page_size)
    return errc::too_big;
  abi::clone_args a = {};
  if (!mm::copy_in(&a, c.p<void>(0), size < sizeof a ? size : sizeof a))
    return errc::fault;
  if (a.set_tid_size || a.exit_signal & ~u64{0xff})
    return errc::inval;
  if ((a.stack == 0) != (a.stack_size == 0))
    return errc::inval;
  return start_thread(c, {a.flags, a.stack + a.stack_size, a.parent_tid, a.child_tid, a.tls});
}

answer sys_set_tid_address(call& c) {
  task::current_task().clear_child_tid = c.u(0);
  return task::current_task().tid;
}

answer sys_set_robust_list(call& c) {
  if (c.u(1) != sizeof(abi::robust_list_head))
    return errc::inval;
  task::current_task().robust_list = c.u(0);
  return 0;
}

answer sys_get_robust_list(call& c) {
  if (c.i(0) != 0 && c.i(0) != task::current_task().tid)
    return errc::perm;
  TRY(write_struct(c.u(1), task::current_task().robust_list));
  TRY(write_struct(c.u(2), u64{sizeof(abi::robust_list_head)}));
  return 0;
}

answer sys_futex(call& c) {
  int command = c.i(1) & ~(abi::futex_private_flag | abi::futex_clock_realtime_flag);
  bool is_realtime = c.i(1) & abi::futex_clock_realtime_flag;
  if (is_realtime && command != abi::futex_wait_bitset)
    return errc::nosys;
  if (c.u(0) & 3)
    return errc::inval;
  if (!mm::is_program_range(c.u(0), 4))
    return errc::fault;
  // A word that may be shared is looked up, so it must be there; a private one is only an address.
  if (!(c.i(1) & abi::futex_private_flag) && !mm::fault_in(c.u(0), 4, false))
    return errc::fault;
  usize count = usize(u32(c.u(2)));
  switch (command) {
    case abi::futex_wait:
    case abi::futex_wait_bitset:
      return futex_wait(c, command, is_realtime);
    case abi::futex_wake:
      return i64(futex::wake(c.p<u32>(0), count));
    case abi::futex_wake_bitset:
      if (u32(c.u(5)) == 0)
        return errc::inval;
      return i64(futex::wake(c.p<u32>(0), count, u32(c.u(5))));
    case abi::futex_requeue:
    case abi::futex_cmp_requeue: {
      u32 expected = u32(c.u(5));
      if (c.u(4) & 3 || c.i(2) < 0 || c.i(3) < 0)
        return errc::inval;
      return i64(TRY(futex::requeue(c.p<u32>(0), count, c.p<u32>(4), usize(u32(c.u(3))),
                                    command == abi::futex_cmp_requeue ? &expected : nullptr)));
    }
    case abi::futex_wake_op:
      return futex_wake_op(c);
    default:
      return errc::nosys;
  }
}

answer sys_exit(call& c) {
  if (task::current_task().tid == task::process_id)
    task::the_process().exit_status = c.i(0) & 0xff;
  sched::exit_current();
}

answer sys_exit_group(call& c) {
  task::end_process(c.i(0) & 0xff);
}

answer sys_sched_yield(call&) {
  sched::yield();
  return 0;
}

answer sys_sched_getaffinity(call& c) {
  if (c.u(1) < sizeof(u64) || c.u(1) % sizeof(u64))
    return errc::inval;
  thread* t = hold_thread(c.i(0));
  if (!t)
    return errc::srch;
  u64 mask = t->affinity & all_cpus();
  sched::drop(t);
  TRY(write_struct(c.u(2), mask));
  return sizeof mask;
}

answer sys_sched_setaffinity(call& c) {
  u64 mask = 0;
  if (!mm::copy_in(&mask, c.p<void>(2), c.u(1) < sizeof mask ? c.u(1) : sizeof mask))
    return errc::fault;
  thread* t = hold_thread(c.i(0));
  if (!t)
    return errc::srch;
  auto r = (mask & all_cpus()) ? sched::set_affinity(t, mask & all_cpus()) : status(errc::inval);
  sched::drop(t);
  TRY(r);
  return 0;
}

answer sys_getcpu(call& c) {
  if (c.u(0))
    TRY(write_struct(c.u(0), u32{sched::this_cpu()}));
  if (c.u(1))
    TRY(write_struct(c.u(1), u32{0}));
  return 0;
}

answer sys_sched_getscheduler(call& c) {
  return c.i(0) < 0 ? answer(errc::inval) : answer(0);
}
answer sys_sched_getparam(call& c) {
  TRY(write_struct(c.u(1), i32{0}));
  return 0;
}
answer sys_sched_setscheduler(call& c) {
  auto priority = TRY(read_struct<i32>(c.u(2)));
  return c.i(1) == 0 && priority == 0 ? answer(0) : answer(c.i(1) > 6 || c.i(1) < 0 ? errc::inval : errc::perm);
}
answer sys_sched_get_priority_max(call& c) {
  if (c.i(0) == 1 || c.i(0) == 2)
    return 99;
  return c.i(0) == 0 || c.i(0) == 3 || c.i(0) == 5 || c.i(0) == 6 ? answer(0) : answer(errc::inval);
}
answer sys_sched_get_priority_min(call& c) {
  if (c.i(0) == 1 || c.i(0) == 2)
    return 1;
  return sys_sched_get_priority_max(c);
}
answer sys_getpriority(call&) {
  return 20;
}  // the system call's encoding of nice 0
answer sys_setpriority(call&) {
  return 0;
}

answer sys_membarrier(call& c) {
  constexpr i64 supported = abi::membarrier_cmd_global | abi::membarrier_cmd_private_expedited |
                            abi::membarrier_cmd_register_private_expedited;
  if (c.u(1))
    return errc::inval;
  switch (c.i(0)) {
    case abi::membarrier_cmd_query:
      return supported;
    case abi::membarrier_cmd_register_private_expedited:
      return 0;
    case abi::membarrier_cmd_global:
    case abi::membarrier_cmd_private_expedited: {
      // Every CPU passes through the scheduler once: that orders whatever runs there.
      u64 own = current()->affinity;
      for (unsigned cpu = 0; cpu < sched::online_count(); cpu++)
        TRY(sched::set_affinity(current(), u64{1} << cpu));
      TRY(sched::set_affinity(current(), own));
      return 0;
    }
    default:
      return errc::inval;
  }
}

answer sys_arch_prctl(call& c) {
  switch (c.i(0)) {
    case abi::arch_set_fs:
      if (c.u(1) >= mm::program_end)
        return errc::perm;
      sched::set_fs_base(c.u(1));
      return 0;
    case abi::arch_get_fs:
      TRY(write_struct(c.u(1), current()->fs_base));
      return 0;
    case abi::arch_get_gs:
      TRY(write_struct(c.u(1), u64{0}));
      return 0;
    case abi::arch_set_gs:
      return c.u(1) == 0 ? answer(0) : answer(errc::perm);
    default:
      return errc::inval;
  }
}

answer sys_prctl(call& c) {
  switch (c.i(0)) {
    case abi::pr_set_name: {
      char name[16] = {};
      long n = mm::copy_string_in(name, c.p<const char>(1), sizeof name);
      if (n == -i64(errc::fault))
        return errc::fault;
      name[15] = 0;
      std::memcpy(current()->name, name, sizeof name);
      return 0;
    }
    case abi::pr_get_name:
      if (!mm::copy_out(c.p<char>(1), current()->name, sizeof current()->name))
        return errc::fault;
      return 0;
    case abi::pr_get_dumpable:
      return 1;
    case abi::pr_set_dumpable:
      return c.u(1) > 1 ? answer(errc::inval) : answer(0);
    case abi::pr_set_pdeathsig:
    case abi::pr_set_no_new_privs:
    case abi::pr_set_timerslack:
      return 0;
    case abi::pr_get_no_new_privs:
      return 0;
    case abi::pr_get_timerslack:
      return 50000;
    case abi::pr_capbset_read:
      return c.u(1) > 40 ? answer(errc::inval) : answer(1);
    case abi::pr_set_vma:
      return errc::inval;  // as a Linux built without it: names of areas are a nicety
    default:
      return errc::inval;
  }
}

}  // namespace solaster::kernel::sys

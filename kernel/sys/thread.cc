// Threads, futexes, scheduling, and the end.
// Spec: clone(2), futex(2), exit_group(2), sched_setaffinity(2), membarrier(2), arch_prctl(2); Linux kernel/futex/*.

#include <cstring>
#include <iterator>
#include <utility>

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
  if (r) [[likely]]
    return 0;
  if (r.error() != errc::intr)
    return r.error();
  return deadline == never ? restart_if_asked : interrupted_wait(c, deadline);
}

// FUTEX_WAKE_OP's operation on the second word: OP << 28 | CMP << 24 | OPARG << 12 | CMPARG.
result<bool> wake_operation(u32* word, u32 encoded) {
  constexpr u32 (*operations[])(u32, u32) = {
      [](u32, u32 argument) { return argument; },           [](u32 old, u32 argument) { return old + argument; },
      [](u32 old, u32 argument) { return old | argument; }, [](u32 old, u32 argument) { return old & ~argument; },
      [](u32 old, u32 argument) { return old ^ argument; },
  };
  const u32 op = encoded >> 28 & 7, cmp = encoded >> 24 & 15;
  auto extend = [](u32 v) { return u32(i32(v << 20) >> 20); };
  u32 argument = extend(encoded >> 12 & 0xfff);
  const u32 compared = extend(encoded & 0xfff);
  if (encoded >> 31)
    argument = 1u << (argument & 31);
  if (op >= std::size(operations))
    return errc::nosys;
  const u32 old = TRY(futex::change(word, operations[op], argument));
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

// A word that may be shared is looked up, so it must be there; a private one is only an address.
status check_word(const call& c, u64 address) {
  if (!mm::is_program_range(address, sizeof(u32)))
    return errc::fault;
  if (!(c.i(1) & abi::futex_private_flag) && !mm::fault_in(address, sizeof(u32), false))
    return errc::fault;
  return {};
}

[[gnu::noinline]] answer futex_requeue(call& c, bool compares) {
  const u32 expected = u32(c.u(5));
  if (c.u(4) & 3 || c.i(2) < 0 || c.i(3) < 0)
    return errc::inval;
  TRY(check_word(c, c.u(4)));
  return i64(TRY(futex::requeue(c.p<u32>(0), usize(u32(c.u(2))), c.p<u32>(4), usize(u32(c.u(3))),
                                compares ? &expected : nullptr)));
}

[[gnu::noinline]] answer futex_wake_op(call& c) {
  if (c.u(4) & 3)
    return errc::inval;
  TRY(check_word(c, c.u(4)));
  bool second = TRY(wake_operation(c.p<u32>(4), u32(c.u(5))));
  usize woken = futex::wake(c.p<u32>(0), usize(u32(c.u(2))));
  if (second)
    woken += futex::wake(c.p<u32>(4), usize(u32(c.u(3))));
  return i64(woken);
}

// Calls visit(task_state&), under the process's lock, for the thread of that id (0: the current one). ESRCH.
template <typename Visit>
status with_task(int tid, Visit visit) {
  auto& p = task::the_process();
  lock_guard guard(p.signal_lock);
  for (auto* t = p.threads; t; t = t->next) {
    if (tid == 0 ? t->who == current() : t->tid == tid) {
      visit(*t);
      return {};
    }
  }
  return errc::srch;
}

// CPU masks travel in words of 64 bits; there are at most 64 CPUs here.
u64 all_cpus() {
  return sched::cpu_count() >= 64 ? ~u64{0} : (u64{1} << sched::cpu_count()) - 1;
}

// A thread of the program, held while this lives. Errors: ESRCH, EINVAL for a negative id.
class held_thread {
 public:
  static result<held_thread> find(int tid) {
    if (tid < 0)
      return errc::inval;
    held_thread found;
    (void)with_task(tid, [&](task::task_state& t) {
      sched::hold(t.who);
      found._thread = t.who;
    });
    if (!found._thread)
      return errc::srch;
    return found;
  }
  held_thread(held_thread&& other) noexcept : _thread(std::exchange(other._thread, nullptr)) {}
  ~held_thread() {
    if (_thread)
      sched::drop(_thread);
  }
  thread* operator->() const { return _thread; }
  thread* get() const { return _thread; }

 private:
  held_thread() = default;
  thread* _thread = nullptr;
};

constexpr int policy_normal = 0, policy_fifo = 1, policy_round_robin = 2, policy_batch = 3, policy_idle = 5,
              policy_deadline = 6;
constexpr int policy_reset_on_fork = 0x40000000;
constexpr int nice_min = -20, nice_max = 19;
constexpr i32 priority_max = 99;

bool is_real_time(int policy) {
  return policy == policy_fifo || policy == policy_round_robin;
}
bool is_fair(int policy) {
  return policy == policy_normal || policy == policy_batch || policy == policy_idle;
}

// A thread of SCHED_IDLE gets as little as the nicest.
void apply_weight(task::task_state& t) {
  sched::set_nice(t.who, t.policy == policy_idle ? nice_max : t.nice);
}

// Calls visit(task_state&) for the threads that getpriority(2)'s `which` and `who` name. EINVAL, ESRCH.
template <typename Visit>
status with_named(int which, int who, Visit visit) {
  constexpr int prio_process = 0, prio_group = 1, prio_user = 2;
  if (which == prio_process)
    return with_task(who, visit);
  if (which != prio_group && which != prio_user)
    return errc::inval;
  if (who != 0 && !(which == prio_group && who == task::process_id))
    return errc::srch;
  auto& p = task::the_process();
  lock_guard guard(p.signal_lock);
  for (auto* t = p.threads; t; t = t->next)
    visit(*t);
  return {};
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

namespace {

[[gnu::noinline]] answer futex_any(call& c) {
  const int command = c.i(1) & ~(abi::futex_private_flag | abi::futex_clock_realtime_flag);
  const bool is_realtime = c.i(1) & abi::futex_clock_realtime_flag;
  if (is_realtime && command != abi::futex_wait_bitset)
    return errc::nosys;
  if (c.u(0) & 3)
    return errc::inval;
  TRY(check_word(c, c.u(0)));
  switch (command) {
    case abi::futex_wait:
    case abi::futex_wait_bitset:
      return futex_wait(c, command, is_realtime);
    case abi::futex_wake:
      return i64(futex::wake(c.p<u32>(0), usize(u32(c.u(2)))));
    case abi::futex_wake_bitset:
      if (u32(c.u(5)) == 0)
        return errc::inval;
      return i64(futex::wake(c.p<u32>(0), usize(u32(c.u(2))), u32(c.u(5))));
    case abi::futex_requeue:
    case abi::futex_cmp_requeue:
      return futex_requeue(c, command == abi::futex_cmp_requeue);
    case abi::futex_wake_op:
      return futex_wake_op(c);
    default:
      return errc::nosys;
  }
}

}  // namespace

answer sys_futex(call& c) {
  // What a program with contended locks does all the time: straight to it.
  if (c.i(1) == (abi::futex_wake | abi::futex_private_flag) && !(c.u(0) & 3) && mm::is_program_range(c.u(0), 4))
    return i64(futex::wake(c.p<u32>(0), usize(u32(c.u(2)))));
  return futex_any(c);
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
  u64 mask = 0;
  TRY(with_task(c.i(0), [&](task::task_state& t) { mask = t.who->affinity.load() & all_cpus(); }));
  TRY(write_struct(c.u(2), mask));
  return sizeof mask;
}

answer sys_sched_setaffinity(call& c) {
  u64 mask = 0;
  if (!mm::copy_in(&mask, c.p<void>(2), c.u(1) < sizeof mask ? c.u(1) : sizeof mask))
    return errc::fault;
  auto t = held_thread::find(c.i(0));
  if (!t)
    return errc::srch;
  TRY(sched::set_affinity(t->get(), mask & all_cpus()));
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
  if (c.i(0) < 0)
    return errc::inval;
  i64 policy = 0;
  TRY(with_task(c.i(0), [&](task::task_state& t) { policy = t.policy; }));
  return policy;
}
answer sys_sched_getparam(call& c) {
  if (c.i(0) < 0 || !c.u(1))
    return errc::inval;
  TRY(with_task(c.i(0), [](task::task_state&) {}));
  TRY(write_struct(c.u(1), i32{0}));
  return 0;
}
// The fair policies; the real-time ones are refused as to a Linux user without the right.
answer sys_sched_setscheduler(call& c) {
  if (c.i(0) < 0 || c.i(1) < 0 || !c.u(2))
    return errc::inval;
  const i32 priority = TRY(read_struct<i32>(c.u(2)));
  const int policy = c.i(1) & ~policy_reset_on_fork;
  TRY(with_task(c.i(0), [](task::task_state&) {}));
  if (is_real_time(policy))
    return priority < 1 || priority > priority_max ? errc::inval : errc::perm;
  if (!is_fair(policy) || priority != 0)
    return errc::inval;
  TRY(with_task(c.i(0), [&](task::task_state& t) {
    t.policy = policy;
    apply_weight(t);
  }));
  return 0;
}
answer sys_sched_setparam(call& c) {
  if (c.i(0) < 0 || !c.u(1))
    return errc::inval;
  const i32 priority = TRY(read_struct<i32>(c.u(1)));
  TRY(with_task(c.i(0), [](task::task_state&) {}));
  return priority == 0 ? answer(0) : answer(errc::inval);  // of a fair policy there is no other
}
answer sys_sched_get_priority_max(call& c) {
  if (is_real_time(c.i(0)))
    return priority_max;
  return is_fair(c.i(0)) || c.i(0) == policy_deadline ? answer(0) : answer(errc::inval);
}
answer sys_sched_get_priority_min(call& c) {
  if (is_real_time(c.i(0)))
    return 1;
  return sys_sched_get_priority_max(c);
}
// Returns 20 - nice of the least nice one: the system call's encoding, since a negative number would be an error.
answer sys_getpriority(call& c) {
  int least = nice_max;
  TRY(with_named(c.i(0), c.i(1), [&](task::task_state& t) { least = t.nice < least ? t.nice : least; }));
  return 20 - least;
}
answer sys_setpriority(call& c) {
  const int wanted = c.i(2);
  const int nice = wanted < nice_min ? nice_min : wanted > nice_max ? nice_max : wanted;
  TRY(with_named(c.i(0), c.i(1), [&](task::task_state& t) {
    t.nice = nice;
    apply_weight(t);
  }));
  return 0;
}

answer sys_membarrier(call& c) {
  constexpr i64 supported = abi::membarrier_cmd_global | abi::membarrier_cmd_private_expedited |
                            abi::membarrier_cmd_register_private_expedited;
  if (c.u(1))
    return errc::inval;
  auto& p = task::the_process();
  switch (c.i(0)) {
    case abi::membarrier_cmd_query:
      return supported;
    case abi::membarrier_cmd_register_private_expedited:
      p.has_membarrier.store(true);
      return 0;
    case abi::membarrier_cmd_private_expedited:
      if (!p.has_membarrier.load())
        return errc::perm;
      [[fallthrough]];
    case abi::membarrier_cmd_global:
      sched::order_all_cpus();
      return 0;
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
    case abi::arch_set_gs: {
      if (c.u(1) == 0)
        return 0;
      // One base for program and kernel: an own one for the program would cost every entry a SWAPGS.
      static std::atomic<bool> said{false};
      if (!said.exchange(true))
        log::warn("arch_prctl(ARCH_SET_GS): EPERM, GS belongs to the kernel");
      return errc::perm;
    }
    default:
      return errc::inval;
  }
}

answer sys_prctl(call& c) {
  auto& t = task::current_task();
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
      return task::the_process().is_dumpable;
    case abi::pr_set_dumpable:
      if (c.u(1) > 1)
        return errc::inval;
      task::the_process().is_dumpable = c.u(1);
      return 0;
    // There is no parent whose death could be told, and no exec that could gain rights: what is set is kept and shown.
    case abi::pr_set_pdeathsig:
      if (c.u(1) > abi::sig_count)
        return errc::inval;
      t.parent_death_signal = i32(c.u(1));
      return 0;
    case abi::pr_get_pdeathsig:
      TRY(write_struct(c.u(1), t.parent_death_signal));
      return 0;
    case abi::pr_set_no_new_privs:
      if (c.u(1) != 1 || c.u(2) || c.u(3) || c.u(4))
        return errc::inval;
      t.no_new_privileges = true;
      return 0;
    case abi::pr_get_no_new_privs:
      if (c.u(1) || c.u(2) || c.u(3) || c.u(4))
        return errc::inval;
      return t.no_new_privileges;
    // Timers here are as exact as they can be, which is within any slack.
    case abi::pr_set_timerslack:
      t.timer_slack_ns = i64(c.u(1)) > 0 ? c.u(1) : task::timer_slack_default_ns;
      return 0;
    case abi::pr_get_timerslack:
      return i64(t.timer_slack_ns);
    case abi::pr_capbset_read:
      return c.u(1) > 40 ? answer(errc::inval) : answer(1);
    case abi::pr_set_vma:
      return errc::inval;  // as a Linux built without it: names of areas are a nicety
    default:
      return errc::inval;
  }
}

}  // namespace solaster::kernel::sys

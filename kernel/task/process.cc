#include "kernel/task/process.hh"

#include <algorithm>

#include "kernel/abi/task.hh"
#include "kernel/drivers/power.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/print.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sched/futex.hh"
#include "kernel/sched/hooks.hh"
#include "kernel/task/signal.hh"

namespace solaster::kernel::task {

namespace {

// Not constructed before use in start-up order: everything in it is constant-initialised.
constinit process the_only_process;

// A futex that its owner leaves locked: marked, and one waiter told (Linux kernel/futex/core.c, handle_futex_death).
void release_robust_futex(u64 address, u32 tid) {
  auto* word = mm::program_pointer<u32>(address);
  u32 value;
  if (address & 3 || !mm::get(value, word))
    return;
  while ((value & abi::futex_tid_mask) == tid) {
    bool exchanged = false;
    u32 wanted = (value & abi::futex_waiters) | abi::futex_owner_died;
    if (!mm::cmpxchg_u32_nofault(word, value, wanted, exchanged))
      return;
    if (exchanged) {
      if (wanted & abi::futex_waiters)
        futex::wake(word, 1);
      return;
    }
  }
}

void walk_robust_list(const task_state& t) {
  abi::robust_list_head head;
  if (!t.robust_list || !mm::get(head, mm::program_pointer<const abi::robust_list_head>(t.robust_list)))
    return;
  u64 entry = head.list;
  for (usize n = 0; n < abi::robust_list_limit && entry != t.robust_list; n++) {
    u64 next;
    if (!mm::get(next, mm::program_pointer<const u64>(entry & ~u64{1})))
      return;
    if (entry != head.list_op_pending)
      release_robust_futex((entry & ~u64{1}) + u64(head.futex_offset), u32(t.tid));
    entry = next;
  }
  if (head.list_op_pending)
    release_robust_futex((head.list_op_pending & ~u64{1}) + u64(head.futex_offset), u32(t.tid));
}

// Returns how many threads are left. What was sent to the process and only this thread had been told of goes on to
// another.
int remove_from_process(process& p, task_state* t) {
  lock_guard guard(p.signal_lock);
  flush_pending(p, t->pending);
  for (task_state** at = &p.threads; *at; at = &(*at)->next)
    if (*at == t) {
      *at = t->next;
      break;
    }
  tell_others(p, p.pending.set);
  return --p.thread_count;
}

}  // namespace

process& the_process() {
  return the_only_process;
}

u64 process_cpu_ns() {
  u64 total = 0;
  sched::for_each_thread(
      [](thread* t, void* sum) {
        if (t->task)
          *static_cast<u64*>(sum) += sched::cpu_time_ns(t);
      },
      &total);
  return total;
}

task_state* create_task(thread* who, signal_set blocked) {
  auto* t = new (std::nothrow) task_state;
  if (!t)
    return nullptr;
  t->who = who;
  t->blocked = blocked;
  auto& p = the_process();
  lock_guard guard(p.signal_lock);
  if (p.thread_count >= threads_max || u64(p.thread_count) >= p.limits[abi::rlimit_nproc].cur) {
    guard.unlock();
    delete t;
    return nullptr;
  }
  t->tid = p.thread_count == 0 ? process_id : ++p.last_tid;
  p.thread_count++;
  t->next = p.threads;
  p.threads = t;
  who->task = t;
  return t;
}

void on_thread_exit(thread* who) {
  task_state* t = who->task;
  if (!t)
    return;
  walk_robust_list(*t);
  if (t->clear_child_tid) {
    auto* word = mm::program_pointer<u32>(t->clear_child_tid);
    if (mm::put(word, u32{0}))
      futex::wake(word, 1);
  }
  if (remove_from_process(the_process(), t) == 0)
    end_process(the_process().exit_status);
  who->task = nullptr;
  kfree(t->xstate);
  delete t;
}

// run.py makes the command's exit status of the device's value and of the line for those that do not fit in it.
void end_process(int status) {
  if (status >= 128)
    log::write(log::level::fatal, "program ended with status {}", status);
  power_off(std::min(status, 127));
}

void end_process_by_signal(int number) {
  log::write(log::level::fatal, "program ended by signal {}", number);
  power_off(127);
}

}  // namespace solaster::kernel::task

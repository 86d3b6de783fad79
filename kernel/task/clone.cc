// New threads.
// Spec: clone(2); Linux kernel/fork.c (copy_process).

#include "kernel/abi/task.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/print.hh"
#include "kernel/mm/shortage.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/task/process.hh"

#include <cstring>

namespace solaster::kernel::task {

result<i64> clone_thread(const trap_frame& frame, const clone_request& r) {
  trap_frame start = frame;
  start.rax = 0;
  if (r.stack)
    start.rsp = r.stack;
  thread* self = current();
  u64 fs_base = (r.flags & abi::clone_settls) ? r.tls : self->fs_base;
  if (fs_base >= mm::program_end)
    return errc::perm;
  if (mm::is_memory_short())
    return errc::again;
  thread* child = TRY(sched::create_program_thread(self->name, start, fs_base, self));
  task_state* t = create_task(child, current_task().blocked);
  if (!t) {
    sched::drop(child);
    return errc::again;
  }
  const task_state& own = current_task();
  t->no_new_privileges = own.no_new_privileges;
  t->timer_slack_ns = own.timer_slack_ns;
  t->nice = own.nice;
  t->policy = own.policy;
  if (r.flags & abi::clone_child_cleartid)
    t->clear_child_tid = r.child_tid;
  i64 tid = t->tid;
  // Linux ignores a bad pointer here too, except for PARENT_SETTID, which it writes before the child runs.
  if (r.flags & abi::clone_parent_settid)
    (void)mm::put(mm::program_pointer<i32>(r.parent_tid), i32(tid));
  if (r.flags & abi::clone_child_settid)
    (void)mm::put(mm::program_pointer<i32>(r.child_tid), i32(tid));
  sched::start(child);
  return tid;
}

}  // namespace solaster::kernel::task

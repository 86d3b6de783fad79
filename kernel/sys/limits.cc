// Limits of resources: what is kept here is also done.
//
// NOFILE, NPROC and SIGPENDING are looked at where a descriptor, a thread or a queued signal is made. What Linux would
// not look at either for a program that is root and alone (or that has no consumer here: no core files, message queues,
// real-time classes) is kept and shown. What we could not enforce may not be lowered: ENOSYS. Nobody may raise a hard
// limit. Spec: getrlimit(2), prlimit(2).

#include "kernel/abi/task.hh"
#include "kernel/lib/print.hh"
#include "kernel/sys/call.hh"

namespace solaster::kernel::sys {

namespace {

bool is_enforced_or_idle(int resource) {
  return resource != abi::rlimit_cpu && resource != abi::rlimit_fsize && resource != abi::rlimit_data &&
         resource != abi::rlimit_as;
}

abi::rlimit limit_of(int resource) {
  auto& p = task::the_process();
  lock_guard guard(p.signal_lock);
  return p.limits[resource];
}

status set_limit(int resource, const abi::rlimit& wanted) {
  if (wanted.cur > wanted.max)
    return errc::inval;
  auto& p = task::the_process();
  lock_guard guard(p.signal_lock);
  abi::rlimit& now = p.limits[resource];
  if (wanted.max > now.max)
    return errc::perm;
  if (!is_enforced_or_idle(resource) && (wanted.cur < now.cur || wanted.max < now.max))
    return errc::nosys;
  now = wanted;
  if (resource == abi::rlimit_nofile)
    p.files.set_limit(int(wanted.cur));
  return {};
}

}  // namespace

answer sys_getrlimit(call& c) {
  if (c.u(0) >= u64{abi::rlimit_count})
    return errc::inval;
  TRY(write_struct(c.u(1), limit_of(c.i(0))));
  return 0;
}

answer sys_setrlimit(call& c) {
  if (c.u(0) >= u64{abi::rlimit_count})
    return errc::inval;
  TRY(set_limit(c.i(0), TRY(read_struct<abi::rlimit>(c.u(1)))));
  return 0;
}

answer sys_prlimit64(call& c) {
  if (c.i(0) != 0 && c.i(0) != task::process_id)
    return errc::srch;
  if (c.u(1) >= u64{abi::rlimit_count})
    return errc::inval;
  const auto old = limit_of(c.i(1));
  if (c.u(2))
    TRY(set_limit(c.i(1), TRY(read_struct<abi::rlimit>(c.u(2)))));
  if (c.u(3))
    TRY(write_struct(c.u(3), old));
  return 0;
}

}  // namespace solaster::kernel::sys

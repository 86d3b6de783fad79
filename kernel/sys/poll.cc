// Waiting for descriptors.
// Spec: poll(2). One queue wakes every poller, and each looks at its own files again: few threads poll here.

#include "kernel/fs/node.hh"
#include "kernel/sync/wait_queue.hh"
#include "kernel/sys/call.hh"
#include "kernel/task/signal.hh"

namespace solaster::kernel {

namespace {

constinit wait_queue pollers;

}  // namespace

void fs::poll_changed() {
  pollers.wake_all();
}

namespace sys {

namespace {

constexpr u64 poll_files_max = 1024;

// How many of them have something to say now; fills revents.
int look(abi::pollfd* entries, usize count) {
  int ready = 0;
  for (usize i = 0; i < count; i++) {
    auto& e = entries[i];
    e.revents = 0;
    if (e.fd < 0)
      continue;
    auto f = task::the_process().files.get(e.fd);
    if (!f) {
      e.revents = abi::poll_nval;
    } else {
      u32 wanted = u32(uint16_t(e.events)) | abi::poll_err | abi::poll_hup;
      e.revents = int16_t((*f)->poll() & wanted);
    }
    if (e.revents)
      ready++;
  }
  return ready;
}

answer poll_until(call& c, u64 deadline) {
  u64 count = c.u(1);
  if (count > poll_files_max)
    return errc::inval;
  std::unique_ptr<abi::pollfd[]> entries(new (std::nothrow) abi::pollfd[count ? count : 1]);
  if (!entries)
    return errc::nomem;
  if (!mm::copy_in(entries.get(), c.p<void>(0), count * sizeof(abi::pollfd)))
    return errc::fault;
  int ready = 0;
  auto result = pollers.wait([&] { return (ready = look(entries.get(), count)) != 0; }, deadline);
  if (result == wait_result::interrupted)
    return restart_without_handler;
  if (!mm::copy_out(c.p<void>(0), entries.get(), count * sizeof(abi::pollfd)))
    return errc::fault;
  return ready;
}

u64 deadline_in(u64 ns) {
  u64 at;
  return __builtin_add_overflow(now_ns(), ns, &at) ? never : at;
}

}  // namespace

answer sys_poll(call& c) {
  int ms = c.i(2);
  u64 deadline;
  if (!take_restart_deadline(deadline))
    deadline = ms < 0 ? never : deadline_in(u64(ms) * 1'000'000);
  auto r = poll_until(c, deadline);
  if (!r && r.error() == restart_without_handler && deadline != never)
    return interrupted_wait(c, deadline);
  return r;
}

answer sys_ppoll(call& c) {
  u64 deadline = never;
  if (c.u(2))
    deadline = deadline_in(TRY(nanoseconds_of(TRY(read_struct<abi::timespec>(c.u(2))))));
  auto& t = task::current_task();
  if (!c.u(3))
    return poll_until(c, deadline);
  if (c.u(4) != sizeof(task::signal_set))
    return errc::inval;
  auto mask = TRY(read_struct<task::signal_set>(c.u(3)));
  t.saved_mask = t.blocked;
  task::set_blocked(mask);
  auto r = poll_until(c, deadline);
  if (!r && r.error() == restart_without_handler) {
    t.restore_mask = true;
  } else {
    task::set_blocked(t.saved_mask);
  }
  return r;
}

}  // namespace sys
}  // namespace solaster::kernel

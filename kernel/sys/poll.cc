// Waiting for descriptors.
// Spec: poll(2). One queue wakes every poller, and each looks at its own files again: few threads poll here.

#include "kernel/abi/time.hh"
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
constexpr usize on_stack_max = 64;

// What is waited for: `entries` as the program gave them, and what is found. The files are held while the call lasts,
// as on Linux: who closes a descriptor meanwhile does not take it away from under us.
template <usize Count>
struct polled_files {
  abi::pollfd entries[Count];
  int16_t found[Count] = {};
  ref<fs::file> files[Count];
};

// How many of them have something to say now.
template <usize Count>
int look(polled_files<Count>& p, usize count) {
  int ready = 0;
  for (usize i = 0; i < count; i++) {
    if (p.files[i])
      p.found[i] = int16_t(p.files[i]->poll() & (u32(uint16_t(p.entries[i].events)) | abi::poll_err | abi::poll_hup));
    ready += p.found[i] != 0;
  }
  return ready;
}

template <usize Count>
answer poll_files(call& c, polled_files<Count>& p, u64 deadline) {
  const usize count = c.u(1);
  auto* program = c.p<abi::pollfd>(0);
  if (!mm::copy_in(p.entries, program, count * sizeof(abi::pollfd)))
    return errc::fault;
  for (usize i = 0; i < count; i++) {
    if (p.entries[i].fd < 0)
      continue;
    auto f = task::the_process().files.get(p.entries[i].fd);
    if (f) {
      p.files[i] = std::move(*f);
    } else {
      p.found[i] = abi::poll_nval;
    }
  }
  int ready = look(p, count);
  if (!ready) {
    auto result = pollers.wait([&] { return (ready = look(p, count)) != 0; }, deadline);
    if (result == wait_result::interrupted)
      return restart_without_handler;
  }
  for (usize i = 0; i < count; i++) {
    if (p.found[i] != p.entries[i].revents && !mm::put(&program[i].revents, p.found[i]))
      return errc::fault;
  }
  return ready;
}

answer poll_until(call& c, u64 deadline) {
  if (c.u(1) > poll_files_max)
    return errc::inval;
  if (c.u(1) <= on_stack_max) {
    polled_files<on_stack_max> few;
    return poll_files(c, few, deadline);
  }
  std::unique_ptr<polled_files<poll_files_max>> many(new (std::nothrow) polled_files<poll_files_max>);
  return many ? poll_files(c, *many, deadline) : answer(errc::nomem);
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
  if (c.u(3)) {
    if (c.u(4) != sizeof(task::signal_set))
      return errc::inval;
    auto mask = TRY(read_struct<task::signal_set>(c.u(3)));
    t.saved_mask = t.blocked;
    task::set_blocked(mask);
  }
  auto r = poll_until(c, deadline);
  if (c.u(3)) {
    if (!r && r.error() == restart_without_handler) {
      t.restore_mask = true;
    } else {
      task::set_blocked(t.saved_mask);
    }
  }
  // What is left of the time goes back to the program, so a call that is restarted waits no longer than it was asked
  // to. A program whose time is in memory that it may not write keeps its result, as on Linux.
  if (deadline != never) {
    const u64 now = now_ns(), left = deadline > now ? deadline - now : 0;
    (void)mm::put(c.p<abi::timespec>(2), abi::timespec{i64(left / abi::ns_per_s), i64(left % abi::ns_per_s)});
  }
  return r;
}

}  // namespace sys
}  // namespace solaster::kernel

// From a number to a handler, and from a result to what the program sees.

#include <atomic>

#include "kernel/lib/print.hh"
#include "kernel/sched/hooks.hh"
#include "kernel/sys/call.hh"
#include "kernel/task/signal.hh"

namespace solaster::kernel {

namespace sys {
namespace {

struct entry {
  const char* name = nullptr;
  answer (*handler)(call&) = nullptr;  // null: ENOSYS
};

constexpr u64 numbers_max = 464;

struct call_table {
  entry entries[numbers_max];
  constexpr call_table() {
#define SYSCALL_full(name) &sys_##name
#define SYSCALL_partial(name) &sys_##name
#define SYSCALL_none(name) nullptr
#define SYSCALL(number, name, support, note) entries[number] = {#name, SYSCALL_##support(name)};
#include "kernel/sys/table.def"
#undef SYSCALL
#undef SYSCALL_full
#undef SYSCALL_partial
#undef SYSCALL_none
  }
};

constinit const call_table table;
// One bit per number: it has been named on the console.
std::atomic<u64> named[numbers_max / 64 + 1];

// rseq and friends are asked for by every program's start, which does without: not worth a line.
bool is_probe(u64 number) {
  constexpr u64 rseq = 334;
  return number == rseq;
}

[[gnu::cold]] i64 refuse_call(u64 number) {
  u64 index = number < numbers_max ? number : numbers_max;
  u64 bit = u64{1} << (index % 64);
  bool first = !(named[index / 64].fetch_or(bit) & bit);
  if (first && !is_probe(number)) {
    if (number < numbers_max && table.entries[number].name)
      log::warn("system call {} ({}) is not supported: ENOSYS", table.entries[number].name, number);
    else
      log::warn("unknown system call {}: ENOSYS", number);
  }
  return -i64(errc::nosys);
}

}  // namespace
}  // namespace sys

extern "C" long syscall_dispatch(syscall_frame* frame) {
  u64 number = frame->error;
  auto& task = task::current_task();
  if (task.restart_call) [[unlikely]] {
    if (task.restart_call != number + 1)
      task.restart_call = 0;
  }
  if (number >= sys::numbers_max || !sys::table.entries[number].handler) [[unlikely]]
    return sys::refuse_call(number);
  sys::call c{frame};
  auto r = sys::table.entries[number].handler(c);
  if (r) [[likely]]
    return *r;
  if (int(r.error()) >= int(restart_if_asked)) [[unlikely]]
    current()->work_pending.store(1);  // settled on the way out
  return -i64(r.error());
}

}  // namespace solaster::kernel

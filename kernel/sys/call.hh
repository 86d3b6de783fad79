// One system call on its way through the kernel: arguments as the program gave them, read where they were saved.
//
// A handler returns a value or an error; only dispatch.cc makes -errno of it. Program pointers are never dereferenced:
// mm/user_access.hh copies, and a bad pointer is EFAULT.
// Context: thread, on its kernel stack, interrupts on, depth 1.
#pragma once

#include "kernel/arch/x86_64/frame.hh"
#include "kernel/lib/errno.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/task/process.hh"

namespace solaster::kernel::sys {

struct call {
  trap_frame* frame;

  u64 u(int n) const {
    switch (n) {
      case 0:
        return frame->rdi;
      case 1:
        return frame->rsi;
      case 2:
        return frame->rdx;
      case 3:
        return frame->r10;
      case 4:
        return frame->r8;
      case 5:
        return frame->r9;
      default:
        KCHECK(!"a system call has six arguments");
        __builtin_unreachable();
    }
  }
  int i(int n) const { return int(u(n)); }
  template <class T>
  T* p(int n) const {
    return mm::program_pointer<T>(u(n));
  }
};

using answer = result<i64>;

// Handlers: every call of table.def that is not `none`.
#define SYSCALL_full(name) answer sys_##name(call& c);
#define SYSCALL_partial(name) answer sys_##name(call& c);
#define SYSCALL_none(name)
#define SYSCALL(number, name, support, note) SYSCALL_##support(name)
#include "kernel/sys/table.def"
#undef SYSCALL
#undef SYSCALL_full
#undef SYSCALL_partial
#undef SYSCALL_none

// Copies for handlers.
template <class T>
result<T> read_struct(u64 address) {
  T value;
  if (!mm::get(value, mm::program_pointer<const T>(address)))
    return errc::fault;
  return value;
}
template <class T>
status write_struct(u64 address, const T& value) {
  if (!mm::put(mm::program_pointer<T>(address), value))
    return errc::fault;
  return {};
}

// A path from the program. Errors: EFAULT, ENAMETOOLONG, ENOMEM. Most paths are short; 4 KiB would be too much for the
// kernel's stack.
class path_argument {
 public:
  status read(u64 address);
  std::string_view view() const { return {_long ? _long.get() : _short, _length}; }

 private:
  char _short[120];
  std::unique_ptr<char[]> _long;
  usize _length = 0;
};

// Times.
result<u64> nanoseconds_of(const abi::timespec& t);  // EINVAL unless normalised and not negative
// What a wait until `deadline` (monotonic) that was interrupted returns: the call is restarted with the same deadline.
errc interrupted_wait(const call& c, u64 deadline);
// The deadline kept by the interrupted call that this one restarts; false: it is a first call.
inline bool take_restart_deadline(u64& deadline) {
  auto& t = task::current_task();
  if (!t.restart_call) [[likely]]
    return false;
  t.restart_call = 0;
  deadline = t.restart_deadline;
  return true;
}

}  // namespace solaster::kernel::sys

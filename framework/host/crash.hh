// What a process says when it is killed by a fault or by abort(): the reason, and a backtrace with names, as the kernel
// does for a guest (kernel/task/die.cc). Then it ends as it would have: the same signal, the same status, a core if the
// host keeps one.
//
// Names come from the program's own symbol table, callers from its unwind tables. Not for a guest; not where somebody
// else (a sanitizer) has the signal already.
//
// Context: install: the main thread, before others run; give_crash_stack: each thread whose stack may overflow.
#pragma once

namespace solaster::internal {

// `name`: the program's; lives as long as the process.
void install_crash_report(const char* name) noexcept;
// A stack for the report of this thread.
void give_crash_stack() noexcept;

}  // namespace solaster::internal

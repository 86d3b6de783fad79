// What files ask of the program's side, which stands above them: defined in kernel/task.
// Context: raise_broken_pipe: thread; interrupt_program: any.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel::fs {

void raise_broken_pipe();  // SIGPIPE for the current thread, as write(2) to a pipe without readers
void interrupt_program();  // SIGINT from the terminal
i32 foreground_group();    // the terminal's process group

}  // namespace solaster::kernel::fs

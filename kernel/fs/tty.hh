// The console as a terminal: bytes out as they are; bytes in are kept for readers, but 0x03, which is SIGINT unless
// TCSETS says otherwise.
//
// No line editing and no echo: the terminal at the other end does that. End of input never comes.
// Context: start_tty once; input comes from the console's interrupt.
#pragma once

#include "kernel/fs/node.hh"

namespace solaster::kernel::fs {

void start_tty();                          // from now on input is taken
ref<node> make_tty_node(uint64_t device);  // make_dev() of its numbers

}  // namespace solaster::kernel::fs

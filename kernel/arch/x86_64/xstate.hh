// The extended (x87, SSE, AVX) state of a thread.
//
// Kernel code never touches these registers, so during a system call or an interrupt they still hold the program's
// values: signal delivery saves them from the registers with xstate_save and sigreturn loads them with xstate_load.
// Context: thread, interrupts on or off; the area must be 64-byte aligned.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

// Bytes of one save area (standard, uncompacted format), the mask of enabled components (XCR0).
usize xstate_size();
u64 xstate_mask();

// `area` may be program memory that is already mapped and writable (a fault in it is a program fault: use a kernel
// buffer and copy_out if in doubt).
void xstate_save(void* area);
// Loads an area that may come from a program: the header is sanitised (reserved bits cleared, MXCSR masked) in place
// first.
void xstate_load(void* area);
// The state of a new program (x87 0x37f, MXCSR 0x1f80, all else zero).
void xstate_reset();

}  // namespace solaster::kernel

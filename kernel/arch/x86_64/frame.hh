// The registers of an interrupted thread: one layout for system calls, interrupts and exceptions.
//
// A handler may change any field before it returns (signal delivery does). For a system call `vector` is
// trap_vector_syscall, `error` holds the call's number (orig_rax), `rcx` and `r11` hold what `syscall` put there, and
// rip and rflags the same values. The way out of a system call restores rip, rsp, rflags and the general registers
// except rcx and r11; whoever changes a field of its frame sets `full_return`, which loads all of them from the frame,
// by iretq: without it r12 to r15 are not read back.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

inline constexpr u64 trap_vector_syscall = 0x100;

struct trap_frame {
  u64 r15, r14, r13, r12, r11, r10, r9, r8;
  u64 rdi, rsi, rbp, rbx, rdx, rcx, rax;
  u64 full_return;  // system calls only: 1 returns by iretq
  u64 vector;
  u64 error;  // exception error code, or the system call's number
  u64 rip, cs, rflags, rsp, ss;
};
static_assert(sizeof(trap_frame) == 23 * 8);

using syscall_frame = trap_frame;

inline constexpr u64 rflags_tf = 1u << 8, rflags_if = 1u << 9, rflags_df = 1u << 10, rflags_iopl = 3u << 12,
                     rflags_nt = 1u << 14, rflags_ac = 1u << 18;

}  // namespace solaster::kernel

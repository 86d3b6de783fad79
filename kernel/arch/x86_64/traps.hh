// What entry.S and the C++ side share.
#pragma once

#include "kernel/arch/x86_64/frame.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel {

struct thread;

extern "C" {
void syscall_entry();
void thread_start();
void switch_stacks(u64* save_rsp, u64 load_rsp);
[[noreturn]] void return_to_frame(trap_frame* frame);
u64 call_on_stack(u64 (*function)(void*), void* argument, u64 top);
usize copy_guarded(void* dst, const void* src, usize n);
int load_u32_guarded(u32* value, const u32* address);
int cmpxchg_u32_guarded(u32* address, u32* expected, u32 desired);

// Interrupts off. Runs what is pending before a return to the program (a switch, signals) until nothing is.
void return_work(trap_frame* frame);
}

}  // namespace solaster::kernel

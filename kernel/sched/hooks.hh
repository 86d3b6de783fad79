// What the core calls in kernel/task and kernel/sys: the program's side of the kernel.
//
// Context: see each. All run on the thread's kernel stack with depth >= 1 and interrupts on, unless said.
#pragma once

#include "kernel/arch/x86_64/frame.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel {

struct thread;

// A system call. The result goes to frame->rax; set frame->full_return when other registers were changed (sigreturn).
extern "C" long syscall_dispatch(syscall_frame* frame);

namespace task {

// Called once, by the first kernel thread, when the machine is up: finds the program in boot_info().initrd, loads it,
// and ends in sched::enter_program (or starts threads and returns). What the user got wrong goes through refuse().
void start_program();

// Before every return to the program (from a system call, a fault, an interrupt) for which thread::work_pending is set.
// Delivers signals by changing *frame, ends the thread. For a system call set full_return if *frame changed.
void on_return_to_program(trap_frame* frame);

struct fault_info {
  u32 vector;      // x86 exception
  u64 error;       // its error code
  uptr address;    // page fault: CR2
  bool is_mapped;  // page fault: an area exists (SEGV_ACCERR), else SEGV_MAPERR
  bool no_memory;  // page fault: out of memory (a report and SIGKILL)
  bool past_end;   // page fault: behind the end of a mapped file (SIGBUS)
};
// An exception of the program that the core cannot serve. Arrange the signal (it is delivered by changing *frame right
// here or by work_pending) or end the program with a report.
void on_program_fault(trap_frame* frame, const fault_info& fault);

// The same in the middle of a direct call: the program ends, with a report.
[[noreturn]] void die_in_direct_call(const trap_frame* frame, const fault_info& fault);

// The thread is ending (after exit_current was called, before it is gone); `t` is current.
void on_thread_exit(thread* t);

// Lines for the panic report: what the program was doing. Any context, no locks.
void describe_program(thread* t);

}  // namespace task
}  // namespace solaster::kernel

// Sending signals, and the ends of the calls about them.
//
// A signal is pending for a thread or for the process until a thread that does not block it passes
// on_return_to_program. What the program claimed through the direct interface never becomes pending. Context: send_*
// any (interrupts too); the rest thread.
#pragma once

#include "kernel/task/process.hh"

namespace solaster::kernel::task {

abi::siginfo make_siginfo(int number, i32 code);

void send_to_process(int number, const abi::siginfo& info);
// False: no such thread.
bool send_to_thread(int tid, int number, const abi::siginfo& info);
// A fault of the current thread: runs its handler. Without one, blocked, ignored or without a stack: death for that
// reason.
void force_signal(trap_frame* frame, const abi::siginfo& info, std::string_view reason);

// Deals with what is pending for the current thread: changes `frame` so that the handler runs next, or ends the
// program.
void deliver_pending(trap_frame* frame);
// Restores what a handler's frame saved. False: the frame is bad (the caller kills with SIGSEGV).
bool restore_signal_frame(trap_frame* frame);
// Makes the handler's frame on the program's stack. False: the stack or the handler's address is bad.
bool make_signal_frame(trap_frame* frame, const abi::sigaction& action, const abi::siginfo& info, signal_set mask);

void set_blocked(signal_set blocked);  // of the current thread; may make pending ones deliverable
bool on_alternate_stack(u64 rsp);

const char* signal_name(int number);
// One line that says why, and a backtrace. Then the machine ends.
[[noreturn]] void die(const trap_frame* frame, int number, std::string_view reason);

}  // namespace solaster::kernel::task

// Sending signals, and the ends of the calls about them.
//
// A signal is pending for a thread or for the process until a thread that does not block it passes
// on_return_to_program. What the program claimed through the direct interface never becomes pending. Context: send_*
// any (interrupts too); the rest thread.
#pragma once

#include "kernel/task/process.hh"

namespace solaster::kernel::task {

abi::siginfo make_siginfo(int number, i32 code);

// EAGAIN: a real-time signal with a siginfo of the program's own, and no room in the queue.
status send_to_process(int number, const abi::siginfo& info);
// ESRCH: no such thread; EAGAIN.
status send_to_thread(int tid, int number, const abi::siginfo& info);
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
// Installs an action and returns the one before. What is pending and would now be ignored is forgotten.
abi::sigaction set_action(int number, const abi::sigaction& wanted);
// Takes a pending signal of `wanted`, waiting until `deadline` for one. EAGAIN: none came; EINTR: another signal did.
result<abi::siginfo> await_signal(signal_set wanted, u64 deadline);

// Under process::signal_lock.
void flush_pending(process& p, pending_signals& pending);  // forgets all of it
void tell_others(process& p, signal_set numbers);          // wakes a thread for each, if one does not block it

// An alternate stack with SS_AUTODISARM is never "in use": it is taken away while a handler runs on it.
bool on_alternate_stack(u64 rsp);
// What sigaltstack and sigreturn accept; the stack as it is kept.
result<abi::stack_t> check_alternate_stack(abi::stack_t wanted);
// The most that a handler's frame takes of an alternate stack (AT_MINSIGSTKSZ).
u64 signal_frame_max();

const char* signal_name(int number);
// One line that says why, and a backtrace. Then the machine ends.
[[noreturn]] void die(const trap_frame* frame, int number, std::string_view reason);

}  // namespace solaster::kernel::task

// Futexes by address: the wait queues under the system call.
//
// The word is compared under the bucket's lock, so a wake that follows a change of the word is never missed.
// Context: thread; wait sleeps. Errors: again (the word has another value), timedout, intr, fault, inval.
#pragma once

#include "kernel/lib/errno.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel::futex {

inline constexpr u32 match_any = ~u32{0};

// deadline: monotonic nanoseconds. Interruptible: errc::intr when work is pending for the thread.
status wait(u32* address, u32 expected, u32 bitset, u64 deadline);
// Returns the number of threads woken.
usize wake(u32* address, usize count, u32 bitset = match_any);
// FUTEX_REQUEUE / CMP_REQUEUE (compare: *expected non-null). Returns woken + requeued; errc::again when the word
// differs.
result<usize> requeue(u32* from, usize wake_count, u32* to, usize requeue_count, const u32* expected);
// *address = next(*address, argument) in one step; returns what it was. Errors: fault, inval.
result<u32> change(u32* address, u32 (*next)(u32 old, u32 argument), u32 argument);

}  // namespace solaster::kernel::futex

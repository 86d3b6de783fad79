// Signals as work for shard 0's loop: the handler only notes that one came and wakes the loop.
//
// In a guest the direct interface collects them (signals_claim); on Linux a signal handler does.
// Context: claim and take: shard 0.
#pragma once

#include <cstdint>

namespace solaster::internal {

// From now on `signo` is collected instead of doing what it does.
void claim_signal(int signo);
// Bits of the signals that have come since the last call (bit n - 1 is signal n). `thorough` false looks only where it
// costs a load: the caller asks thoroughly now and then, and after a sleep.
uint64_t take_signals(bool thorough) noexcept;
// Whether a signal came that was not taken: the last look before a sleep. Those that the direct interface collects set
// the shard's wake token instead.
bool signals_came() noexcept;
// Back to the default action: a second Ctrl-C ends a program whose stop hangs, even if its loop does not turn any more.
void restore_default(int signo) noexcept;

}  // namespace solaster::internal

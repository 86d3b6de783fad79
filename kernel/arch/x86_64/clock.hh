// Boot's part of the clock: calibration and the source of wall time.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

// Finds the TSC's and the local APIC timer's frequency in well under a millisecond, reads the wall clock.
// `asked_hz`, when not 0, is what the TSC's is taken for at first.
void clock_initialise(u64 asked_hz);
// Judges the frequency while the machine runs, by a timer: three times in the first ten seconds, then once a minute.
void clock_start_refining();

}  // namespace solaster::kernel

// Boot's part of the clock: calibration and the source of wall time.
#pragma once

namespace solaster::kernel {

// Finds the TSC's and the local APIC timer's frequency in well under a millisecond, reads the wall clock.
void clock_initialise();
// Judges the frequency while the machine runs, by a timer: three times in the first ten seconds, then once a minute.
void clock_start_refining();

}  // namespace solaster::kernel

// What the kernel's own options mean. A misspelt option or a bad value must not pass in silence.
#pragma once

#include "kernel/firmware/boot_info.hh"

namespace solaster::kernel {

struct kernel_options {
  u64 tsc_hz = 0;     // what the clock starts from, until it knows better; 0: measure
  int log_level = 4;  // 0: nothing, 4: warnings and errors, 7: everything
  bool randomise = true;
};
// Refuses the start, in one line, if an option is unknown or its value bad.
kernel_options read_options();

}  // namespace solaster::kernel

// The serial console (COM1): bytes out as they are, bytes in through a line discipline hook.
//
// Context: write from any context (whole, not interleaved); input_hook runs in interrupt context.
#pragma once

#include <span>
#include <string_view>

#include "kernel/lib/types.hh"

namespace solaster::kernel::console {

void write(std::string_view bytes);
// For a panic: takes no lock.
void write_unlocked(std::string_view bytes);
void initialise();
// Receive interrupts on (COM1, global interrupt 4).
void start_input();

// Called for every received byte, in interrupt context. kernel/task sets it: 0x03 becomes SIGINT, the rest stdin.
void set_input_hook(void (*hook)(u8 byte));

}  // namespace solaster::kernel::console

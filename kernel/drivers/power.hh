// Ending the machine.
#pragma once

namespace solaster::kernel {

// With isa-debug-exit: QEMU's status is status * 2 + 1 (status 0..127). Else ACPI power-off, status lost. Never
// returns.
[[noreturn]] void power_off(int status);

}  // namespace solaster::kernel

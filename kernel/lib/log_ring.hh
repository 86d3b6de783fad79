// The last 16 KiB of the kernel's log lines, shown or not (/dev/kmsg, the panic report).
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel::log {

usize copy_ring(char* out, usize size);

}  // namespace solaster::kernel::log

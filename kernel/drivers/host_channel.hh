// One line of text for whoever started the guest: QEMU's isa-debugcon, a port that takes bytes and needs no driver. The
// console is the program's; what the host's tools act on must not depend on what a program prints.
// Spec: QEMU hw/char/debugcon.c: a read gives 0xe9 where the device is.
//
// Context: any thread; not in an interrupt.
#pragma once

#include <string_view>

namespace solaster::kernel::host_channel {

// Writes the line and its end. False: nobody is there.
bool tell(std::string_view line);

}  // namespace solaster::kernel::host_channel

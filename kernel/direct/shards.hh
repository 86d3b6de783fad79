// Shards: which thread each one is, and its wake token. Private to direct/.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel::direct {

// Sets the shard's token and wakes its thread; any context, interrupts too. False: nobody is bound to it.
bool wake_shard(u32 shard);
// Where its interrupts go: the CPU that it is bound to, 0 when nobody is.
unsigned cpu_of_shard(u32 shard);

}  // namespace solaster::kernel::direct

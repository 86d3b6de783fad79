// Resident memory in physically contiguous blocks, for the direct interface. Never unmapped again.
#pragma once

#include "kernel/lib/errno.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel::mm {

struct memory_block {
  u64 physical;
  u64 length;
};
struct mapped_blocks {
  uptr base;
  u32 count;
};

// `bytes` is rounded up to 2 MiB. E2BIG: more than `capacity` blocks would be needed; ENOMEM.
result<mapped_blocks> map_shard_memory(u64 bytes, memory_block* blocks, u32 capacity);
// What is left for it: whole 2 MiB blocks less a reserve.
u64 shard_memory_available();

}  // namespace solaster::kernel::mm

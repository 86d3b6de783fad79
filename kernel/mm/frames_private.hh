// The frame allocator's inside: boot feeds it, the heap asks for the size of a block.
#pragma once

#include "kernel/mm/frames.hh"

namespace solaster::kernel::mm {

// `state_bytes`: one byte for each frame of [0, frames).
void frames_initialise(u8* state_bytes, u64 frames);
// Gives [start, end) to the allocator; mapped in the physical map already.
void frames_add(phys_addr start, phys_addr end);
// Order of the allocated block that starts at p.
unsigned used_order(phys_addr p);
// An allocated block of 2 MiB or more becomes blocks of 2 MiB, each freed by itself.
void split_into_huge(phys_addr p, unsigned order);
// Free memory in blocks of 2 MiB and more.
u64 free_huge_bytes();

}  // namespace solaster::kernel::mm

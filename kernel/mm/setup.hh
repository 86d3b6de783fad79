// Boot's memory: from the loader's map to frames and the final page tables.
#pragma once

namespace solaster::kernel::mm {

// Feeds the frame allocator, maps all RAM in the high half and the kernel by its sections' rights (W^X), and drops the
// identity map. Refuses a machine with too little memory.
void initialise_memory();

}  // namespace solaster::kernel::mm

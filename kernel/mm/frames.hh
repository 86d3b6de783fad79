// Physical memory: 4 KiB frames by the power of two (buddies), and the map of all RAM in the high half.
//
// Context: any, interrupt too (a spinlock with interrupts off). Limits: the largest block is 2^18 frames (1 GiB).
#pragma once

#include "kernel/arch/x86_64/physical.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel::mm {

inline constexpr unsigned order_max = 18;

phys_addr virt_to_phys_linear(const void* p);  // for addresses of the physical map and the kernel image only

// 2^order frames, contents undefined; 0 when memory is out. Frame 0 is never given out.
phys_addr allocate_frames(unsigned order);
phys_addr allocate_zeroed_frame();
void free_frames(phys_addr p, unsigned order);

u64 free_bytes();
u64 total_bytes();

}  // namespace solaster::kernel::mm

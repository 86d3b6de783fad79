// Physical memory: 4 KiB frames by the power of two (buddies), and the map of all RAM in the high half.
//
// Context: any, interrupt too (a spinlock with interrupts off). Limits: the largest block is 2^18 frames (1 GiB).
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel::mm {

using phys_addr = u64;
inline constexpr u64 physical_map_base = 0xffff'8000'0000'0000;
inline constexpr unsigned order_max = 18;

// All RAM is mapped read-write, never executable, at physical_map_base + address.
template <typename T = void>
T* phys_to_virt(phys_addr p) {
  return reinterpret_cast<T*>(physical_map_base + p);
}
phys_addr virt_to_phys_linear(const void* p);  // for addresses of the physical map and the kernel image only

// 2^order frames, contents undefined; 0 when memory is out. Frame 0 is never given out.
phys_addr allocate_frames(unsigned order);
phys_addr allocate_zeroed_frame();
void free_frames(phys_addr p, unsigned order);

u64 free_bytes();
u64 total_bytes();

}  // namespace solaster::kernel::mm

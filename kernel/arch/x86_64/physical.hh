// Physical addresses, and where the high half maps all RAM.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel::mm {

using phys_addr = u64;
inline constexpr u64 physical_map_base = 0xffff'8000'0000'0000;

// All RAM is mapped at physical_map_base + address, never executable, read-write but for what nobody writes (code).
template <typename T = void>
T* phys_to_virt(phys_addr p) {
  // SAFETY: the physical map covers all RAM from the first page tables on.
  return reinterpret_cast<T*>(physical_map_base + p);
}

}  // namespace solaster::kernel::mm

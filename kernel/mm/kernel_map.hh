// The kernel's own virtual ranges: device registers and stacks with guard pages.
//
// Mappings here are never taken away (freed stacks go to a pool with their frames), so no TLB shoot-down is needed.
// Context: any.
#pragma once

#include "kernel/lib/types.hh"
#include "kernel/mm/frames.hh"

namespace solaster::kernel {
inline constexpr usize kernel_stack_size = 16384;
}

namespace solaster::kernel::mm {

inline constexpr u64 kernel_map_base = 0xffff'c000'0000'0000;

// Maps device registers uncached, read-write. Any alignment; null when memory is out.
// SAFETY: volatile, since what lies there are registers.
volatile void* map_device(phys_addr base, u64 length);

// A stack of `size` bytes (a multiple of the page size) with an unmapped page below; returns its top. Never freed.
// Panics when memory is out (boot only).
u64 allocate_kernel_stack_of(usize size);
// A thread's kernel stack (kernel_stack_size, guard below); 0 when memory is out. free takes the same top.
u64 allocate_thread_stack();
void free_thread_stack(u64 top);
// The page below some kernel stack.
bool is_stack_guard(u64 address);

}  // namespace solaster::kernel::mm

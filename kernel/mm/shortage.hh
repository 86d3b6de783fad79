// When to refuse what a program asks for although there is a little memory left: pages of the stack or the heap that
// are touched for the first time cannot be refused, so the last of the memory is theirs. Context: any.
#pragma once

#include "kernel/mm/frames.hh"

namespace solaster::kernel::mm {

inline constexpr u64 last_memory_bytes = 1 << 20;

// True: no new threads, areas, files or pipes.
inline bool is_memory_short() {
  u64 part = total_bytes() / 16;
  return free_bytes() < (part < last_memory_bytes ? part : last_memory_bytes);
}

}  // namespace solaster::kernel::mm

// Names of the kernel's functions for backtraces, from the table that the build embeds (.ksyms).
#pragma once

#include <string_view>

#include "kernel/lib/types.hh"

namespace solaster::kernel {

struct symbol {
  std::string_view name;  // demangled; empty: unknown
  u64 offset = 0;
};
symbol find_symbol(u64 address);
bool is_kernel_text(u64 address);

// Walks frame pointers from (rip, rbp) and calls `visit` for each return address, at most `limit`. Reads memory with
// fault protection, so a broken chain only ends the walk. Works for program frames too (those built with frame
// pointers).
void walk_frames(u64 rip, u64 rbp, usize limit, void (*visit)(void* context, u64 address), void* context);

}  // namespace solaster::kernel

// Where the program finds the kernel's direct interface (kernel/include/solaster/direct.h), if it runs in a guest at
// all.
//
// Context: any thread, from the first line of main on. No allocation.
#pragma once

#include <solaster/direct.h>

namespace solaster {

// The table, or null on Linux. A table of another version counts as none.
const solaster_direct* find_direct_interface() noexcept;

inline bool is_guest() noexcept {
  return find_direct_interface() != nullptr;
}

}  // namespace solaster

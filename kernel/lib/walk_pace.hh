// How often a debug build walks a structure to see whether it is valid: after every change while it is small, and so
// rarely when it is large that all walks together cost a constant for each change. Nothing in a release build.
// Context: guarded by whatever guards the structure.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

#ifdef SOLASTER_DEBUG
class walk_pace {
 public:
  bool is_due(usize size) {
    if (++_changes < size / 8)
      return false;
    _changes = 0;
    return true;
  }

 private:
  usize _changes = 0;
};
#else
class walk_pace {
 public:
  constexpr bool is_due(usize) const { return false; }
};
#endif

}  // namespace solaster::kernel

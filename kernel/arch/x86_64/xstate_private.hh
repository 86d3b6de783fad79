// Extended state for the scheduler and CPU start.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

// What a direct call, an ordinary C call, must preserve.
struct light_xstate {
  u32 mxcsr = 0x1f80;
  u16 fcw = 0x37f;
};

// How this machine saves it: by XSAVE with these components (all below bit 32), else by FXSAVE.
struct xstate_format {
  u32 components = 0;
  bool has_xsave = false;
};
extern xstate_format xstate_in_use;

void xstate_initialise_cpu();
void xstate_initialise_area(void* area);
// A thread's own area, whose header nobody but XSAVE and xstate_initialise_area writes: nothing to be cleaned.
inline void xstate_switch_out(void* area) {
  // SAFETY: the area has xstate_size() bytes and is aligned to 64, as in the next.
  if (xstate_in_use.has_xsave) [[likely]] {
    asm volatile("xsave64 (%0)" ::"r"(area), "a"(xstate_in_use.components), "d"(0) : "memory");
  } else {
    asm volatile("fxsave64 (%0)" ::"r"(area) : "memory");
  }
}
inline void xstate_switch_in(const void* area) {
  if (xstate_in_use.has_xsave) [[likely]] {
    asm volatile("xrstor64 (%0)" ::"r"(area), "a"(xstate_in_use.components), "d"(0) : "memory");
  } else {
    asm volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
  }
}
void xstate_save_light(light_xstate& s);
void xstate_load_light(const light_xstate& s);

}  // namespace solaster::kernel

// Extended state for the scheduler and CPU start.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

// What a direct call, an ordinary C call, must preserve.
struct light_xstate {
  u32 mxcsr = 0x1f80;
  u16 fcw = 0x37f;
};

void xstate_initialise_cpu();
void xstate_initialise_area(void* area);
// A thread's own area, whose header nobody but XSAVE and xstate_initialise_area writes: nothing to be cleaned.
void xstate_switch_out(void* area);
void xstate_switch_in(const void* area);
void xstate_save_light(light_xstate& s);
void xstate_load_light(const light_xstate& s);

}  // namespace solaster::kernel

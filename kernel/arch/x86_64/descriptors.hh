// GDT, TSS and IST stacks of a CPU. Spec: Intel SDM vol. 3, 3.4.5, 6.14.5, 7.7.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

inline constexpr u16 selector_code = 0x08, selector_data = 0x10, selector_tss = 0x18;

enum ist : u8 {
  ist_none = 0,
  ist_nmi = 1,
  ist_double_fault = 2,
  ist_machine_check = 3,
  ist_exception = 4,
  ist_interrupt = 5
};

// On the CPU itself, with GS base set: loads GDT, TSS, IDT, the system-call registers.
void load_descriptors(unsigned cpu);
// True: GS had lost the CPU's data (a program loaded a selector into it), and has them again.
bool restore_gs_base();

}  // namespace solaster::kernel

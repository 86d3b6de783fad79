// Vectors, the local APIC and the IOAPICs.
//
// Spec: Intel SDM vol. 3 chapters 6, 11; 82093AA (IOAPIC); ACPI 6.4, 5.2.12 (MADT).
// Context: handlers run on the CPU's interrupt stack with interrupts off: they take spinlocks, never sleep, and touch
// no program memory. Registration: thread or boot.
#pragma once

#include "kernel/lib/errno.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel {

enum vector : u8 {
  vector_first_device = 0x30,
  vector_last_device = 0xdf,
  vector_timer = 0xe0,
  vector_reschedule = 0xe1,
  vector_tlb = 0xe2,
  vector_return_hook = 0xf0,  // software: on the way back to the program after a direct call
  vector_spurious = 0xff
};

using interrupt_handler = void (*)(void* argument);

// A free device vector with its handler; errc::nospc when all are taken.
result<u8> allocate_vector(interrupt_handler handler, void* argument);
void free_vector(u8 vector);

// Routes a global system interrupt to this vector on CPU `cpu`, unmasked.
status route_gsi(u32 gsi, u8 vector, unsigned cpu, bool is_level, bool is_active_low);
void mask_gsi(u32 gsi);
// An ISA interrupt with the MADT's override applied, to CPU 0.
void route_isa_interrupt(u8 irq, interrupt_handler handler, void* argument);

// MSI message for (cpu, vector).
struct msi_message {
  u64 address;
  u32 data;
};
msi_message msi_for(unsigned cpu, u8 vector);

// Local APIC of this CPU.
void local_apic_initialise(bool is_boot_cpu);
void local_apic_eoi();
void local_apic_send_ipi(u32 apic_id, u8 vector);
void local_apic_send_nmi(u32 apic_id);
void local_apic_send_init(u32 apic_id);
void local_apic_send_startup(u32 apic_id, u8 page);
// One-shot at TSC time; by TSC deadline where the CPU has it.
void local_apic_arm(u64 delta_ns);
// Ticks per second of the timer, set by calibration. Between start and stop the timer counts instead of interrupting.
void local_apic_set_frequency(u64 hz);
void local_apic_start_count();
u32 local_apic_read_count();
void local_apic_stop_count();

void io_apic_initialise();
// The IDT: first without IST stacks (faults of early boot), then with them.
void interrupts_initialise_tables(bool with_stacks);
void load_interrupt_table();  // per CPU

}  // namespace solaster::kernel

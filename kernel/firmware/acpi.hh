// What the firmware's tables say. Spec: ACPI 6.4: RSDP 5.2.5, FADT 5.2.9, MADT 5.2.12, MCFG (PCI firmware 3.0).
//
// Everything read is bounds-checked; a machine without ACPI gets one CPU and one IOAPIC at the usual place.
// Context: boot, while the first 4 GiB are mapped.
#pragma once

#include <span>

#include "kernel/arch/x86_64/physical.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel {

struct io_apic_entry {
  u64 address;
  u32 gsi_base;
};
struct interrupt_override {
  u8 irq;
  u32 gsi;
  bool is_level, is_active_low;
};

struct acpi_information {
  bool is_present = false;
  bool is_hardware_reduced = false;  // microvm
  unsigned cpu_count = 0;            // listed and enabled; at most cpus_max
  u32 apic_ids[64] = {};
  u64 local_apic_address = 0xfee00000;
  unsigned io_apic_count = 0;
  io_apic_entry io_apics[8] = {};
  unsigned override_count = 0;
  interrupt_override overrides[24] = {};
  u64 ecam_base = 0;  // segment 0; 0: no PCI by ECAM
  u8 ecam_first_bus = 0, ecam_last_bus = 0;
  u64 sleep_control = 0;  // hardware-reduced: MMIO address of the sleep control register, 0: none
  u16 pm1a_control = 0;   // else: port
};
const acpi_information& acpi();

void acpi_initialise(u64 rsdp_from_loader);

}  // namespace solaster::kernel

// SAFETY (file): one device register, mapped by map_device; the asm stops the processor.
#include "kernel/drivers/power.hh"

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/drivers/power_private.hh"
#include "kernel/firmware/acpi.hh"
#include "kernel/mm/kernel_map.hh"

namespace solaster::kernel {
namespace {

constexpr u16 debug_exit_port = 0xf4;  // QEMU's isa-debug-exit: ends with (value << 1) | 1
constexpr u16 pm1_sleep_s5 = 0x2000;   // SLP_EN, SLP_TYP 0: S5 on q35 (DSDT \_S5)
constexpr u8 sleep_control_s5 = 0x34;  // SLP_EN, SLP_TYP 5: S5 of a hardware-reduced machine
constexpr u16 q35_pm1a = 0x604;

volatile u8* sleep_control = nullptr;

}  // namespace

void power_initialise() {
  if (acpi().sleep_control)
    sleep_control = static_cast<volatile u8*>(mm::map_device(acpi().sleep_control, 1));
}

void power_off(int status) {
  disable_interrupts();
  out8(debug_exit_port, static_cast<u8>(status > 127 ? 127 : status));
  // Still here: no such device. The status is lost. Power-off is asynchronous.
  if (sleep_control)
    *sleep_control = sleep_control_s5;
  if (!acpi().is_hardware_reduced)
    out16(acpi().pm1a_control ? acpi().pm1a_control : q35_pm1a, pm1_sleep_s5);
  for (;;)
    asm volatile("cli; hlt");
}

}  // namespace solaster::kernel

// The kernel's start, top to bottom. Each step's own file says how; nothing here waits for a device or a CPU.

#include "kernel/arch/x86_64/clock.hh"
#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/descriptors.hh"
#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/arch/x86_64/smp.hh"
#include "kernel/arch/x86_64/xstate_private.hh"
#include "kernel/boot/options.hh"
#include "kernel/boot/selftest.hh"
#include "kernel/drivers/console.hh"
#include "kernel/drivers/entropy_private.hh"
#include "kernel/drivers/power_private.hh"
#include "kernel/firmware/acpi.hh"
#include "kernel/firmware/pvh.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/frames.hh"
#include "kernel/mm/setup.hh"
#include "kernel/sched/hooks.hh"
#include "kernel/sched/scheduler.hh"

extern "C" {
extern char boot_stack_top[];
using constructor = void (*)();
extern const constructor init_array_start[], init_array_end[];
}

namespace solaster::kernel {
namespace {

void run_constructors() {
  for (const constructor* c = init_array_start; c != init_array_end; c++)
    (*c)();
}

// The first thread: what needs interrupts on, then the program.
void first_thread(void*) {
  console::start_input();
  clock_start_refining();
  watch_other_cpus();
  if (run_selftest(find_option("selftest")))
    return;
  task::start_program();
}

}  // namespace

extern "C" [[noreturn]] void kernel_start(u32 start_info) {
  adopt_boot_cpu();
  console::initialise();
  interrupts_initialise_tables(false);
  load_interrupt_table();
  if (!read_start_info(start_info))
    refuse("not started by PVH, or by a loader older than its version 1");
  const kernel_options options = read_options();
  log::set_level(options.log_level);
  mm::randomise_addresses(options.randomise);
  acpi_initialise(loader_info().rsdp);
  set_machine(acpi().is_hardware_reduced ? "microvm" : (acpi().ecam_base ? "q35" : "unknown"));

  mm::initialise_memory();
  run_constructors();
  // SAFETY: an address as a number: the linker script's symbol is no object.
  sched::adopt_idle(0, reinterpret_cast<u64>(boot_stack_top) - 8);
  interrupts_initialise_tables(true);
  load_descriptors(0);
  xstate_initialise_cpu();
  sched::set_online(0);

  local_apic_initialise(true);
  io_apic_initialise();
  power_initialise();
  start_other_cpus();
  clock_initialise(options.tsc_hz);
  entropy_initialise();
  log::info("{} CPUs, {} KiB of memory, machine {}", sched::cpu_count(), mm::total_bytes() >> 10, boot_info().machine);

  auto first = sched::create_kernel_thread("init", first_thread, nullptr);
  if (!first)
    panic("out of memory for the first thread");
  sched::start(*first);
  sched::idle_loop();
}

}  // namespace solaster::kernel

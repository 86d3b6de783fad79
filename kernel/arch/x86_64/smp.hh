// The other CPUs: starting them, interrupting them, flushing their TLBs.
//
// Spec: Intel SDM vol. 3, 9.4 (INIT, SIPI), 11.6 (IPIs). One SIPI is enough on every machine measured; a second follows
// if the CPU has not come after 5 ms (sent by a timer, nobody waits). Context: see each.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

// Where the trampoline is copied to: kept from the frame allocator.
inline constexpr u64 trampoline_page = 0x8000;

// Boot: per-CPU data of the first CPU.
void adopt_boot_cpu();
// Boot: sends INIT and SIPI to every CPU that the MADT lists and returns at once.
void start_other_cpus();
// Timers run: asks again those that have not come.
void watch_other_cpus();
// Panic: NMI to all others, which halt.
void stop_other_cpus();
void send_reschedule(unsigned cpu);

// Makes every CPU forget translations of [start, end) of the program's half. Thread context with interrupts on, one
// caller at a time (the address space's mutex): it waits for the answers with interrupts on, so two CPUs cannot wait
// for each other.
void flush_tlb_everywhere(u64 start, u64 end);
// The idle loop brackets its sleep with these; a flush meanwhile costs no interrupt.
void enter_lazy_tlb();
void leave_lazy_tlb();

bool is_panicking();

}  // namespace solaster::kernel

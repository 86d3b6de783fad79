// SAFETY (file): addresses of objects as numbers, for a register; the per-CPU areas are aligned before they are made.
#include "kernel/arch/x86_64/smp.hh"

#include <atomic>

#include "kernel/arch/x86_64/descriptors.hh"
#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/arch/x86_64/smp_private.hh"
#include "kernel/arch/x86_64/xstate_private.hh"
#include "kernel/firmware/acpi.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/frames.hh"
#include "kernel/mm/kernel_map.hh"
#include "kernel/mm/paging.hh"
#include "kernel/sched/scheduler.hh"

extern "C" {
extern char trampoline_start[], trampoline_end[];
solaster::kernel::u64 secondary_root;
solaster::kernel::u32 secondary_ticket;
solaster::kernel::u64 secondary_stacks[solaster::kernel::cpus_max];
}

namespace solaster::kernel {
namespace {

constexpr u32 msr_gs_base = 0xc0000101;
constexpr u64 cr4_pge = 1u << 7;
constexpr u64 late_check_ns[] = {5'000'000, 100'000'000, 1'000'000'000};

per_cpu boot_cpu_data;
per_cpu* all_cpus[cpus_max] = {&boot_cpu_data};
timer late_timer;
unsigned late_checks = 0;

struct {
  std::atomic<u64> pending{0};  // bit per CPU that has not answered
  u64 start = 0, end = 0;
} tlb_request;

void send_startup(unsigned cpu) {
  local_apic_send_startup(acpi().apic_ids[cpu], trampoline_page >> 12);
}

void on_late(timer*) {
  bool all = true;
  for (unsigned i = 1; i < sched::cpu_count(); i++) {
    if (cpu_data(i).is_online)
      continue;
    all = false;
    send_startup(i);  // a CPU that is on its way ignores it
  }
  if (all)
    return;
  if (++late_checks < sizeof late_check_ns / sizeof late_check_ns[0]) {
    sched::arm(late_timer, now_ns() + late_check_ns[late_checks]);
  } else {
    log::warn("{} of {} CPUs came up", sched::online_count(), sched::cpu_count());
  }
}

}  // namespace

per_cpu& cpu_data(unsigned cpu) {
  return *all_cpus[cpu];
}
const cpu_statistics& statistics_of(unsigned cpu) {
  per_cpu& c = cpu_data(cpu);
  c.statistics.system_calls = c.system_calls;
  return c.statistics;
}

void adopt_boot_cpu() {
  boot_cpu_data.self = &boot_cpu_data;
  write_msr(msr_gs_base, reinterpret_cast<u64>(&boot_cpu_data));
}

void start_other_cpus() {
  const acpi_information& a = acpi();
  sched::set_cpu_count(a.cpu_count);
  boot_cpu_data.apic_id = a.apic_ids[0];
  if (a.cpu_count == 1)
    return;
  memcpy(mm::phys_to_virt(trampoline_page), trampoline_start, static_cast<usize>(trampoline_end - trampoline_start));
  secondary_root = paging::root();
  for (unsigned i = 1; i < a.cpu_count; i++) {
    auto* c = static_cast<per_cpu*>(kmalloc(sizeof(per_cpu) + alignof(per_cpu)));
    if (!c)
      panic("out of memory for CPU {}", i);
    c = new (reinterpret_cast<void*>(align_up(reinterpret_cast<u64>(c), alignof(per_cpu)))) per_cpu;
    c->self = c;
    c->number = i;
    c->lock_owner = i + 1;
    c->apic_id = a.apic_ids[i];
    all_cpus[i] = c;
    secondary_stacks[i - 1] = mm::allocate_kernel_stack_of(kernel_stack_size);
  }
  for (unsigned i = 1; i < a.cpu_count; i++) {
    local_apic_send_init(a.apic_ids[i]);
    send_startup(i);
  }
}

void watch_other_cpus() {
  if (sched::cpu_count() == 1)
    return;
  late_timer.fire = on_late;
  sched::arm(late_timer, now_ns() + late_check_ns[0]);
}

extern "C" [[noreturn]] void secondary_main(u64 stack_top) {
  const u32 apic_id = cpuid(1).ebx >> 24;
  unsigned number = 0;
  for (unsigned i = 1; i < acpi().cpu_count; i++) {
    if ((acpi().apic_ids[i] & 0xff) == apic_id)
      number = i;
  }
  per_cpu* c = all_cpus[number];
  write_msr(msr_gs_base, reinterpret_cast<u64>(c));
  write_cr4(read_cr4() | cr4_pge);
  xstate_initialise_cpu();
  sched::adopt_idle(number, stack_top - 8);
  load_descriptors(number);
  local_apic_initialise(false);
  sched::set_online(number);
  paging::flush_local_all();  // what changed before this CPU was asked
  sched::idle_loop();
}

void stop_other_cpus() {
  for (unsigned i = 0; i < sched::cpu_count(); i++) {
    if (i != this_cpu_number() && cpu_data(i).is_online)
      local_apic_send_nmi(cpu_data(i).apic_id);
  }
}

void send_reschedule(unsigned cpu) {
  local_apic_send_ipi(cpu_data(cpu).apic_id, vector_reschedule);
}

// ---- TLB. A CPU that idles is marked lazy: it is told by is_stale alone. Initiator: is_stale = 1, then reads is_lazy;
// waking CPU: is_lazy = 0, then takes is_stale. Both orders are sequentially consistent, so one of them sees the other.

void flush_tlb_everywhere(u64 start, u64 end) {
  paging::flush_local(start, end);
  this_cpu_data()->statistics.tlb_flushes++;
  if (sched::online_count() == 1)
    return;
  KCHECK(interrupts_enabled());
  tlb_request.start = start;
  tlb_request.end = end;
  const unsigned me = this_cpu_number();
  u64 asked = 0;
  for (unsigned i = 0; i < sched::cpu_count(); i++) {
    per_cpu& c = cpu_data(i);
    if (i == me || !c.is_online.load(std::memory_order_acquire))
      continue;
    c.is_stale.store(1);
    if (!c.is_lazy.load())
      asked |= u64{1} << i;
  }
  tlb_request.pending.store(asked);
  for (u64 left = asked; left; left &= left - 1) {
    local_apic_send_ipi(cpu_data(static_cast<unsigned>(__builtin_ctzll(left))).apic_id, vector_tlb);
  }
  while (tlb_request.pending.load(std::memory_order_acquire))
    cpu_relax();
}

void answer_tlb_request() {
  per_cpu* c = this_cpu_data();
  const u64 bit = u64{1} << c->number;
  if (!(tlb_request.pending.load(std::memory_order_acquire) & bit))
    return;
  c->is_stale.store(0);
  paging::flush_local(tlb_request.start, tlb_request.end);
  c->statistics.tlb_flushes++;
  tlb_request.pending.fetch_and(~bit, std::memory_order_release);
}

void enter_lazy_tlb() {
  this_cpu_data()->is_lazy.store(1);
}
void leave_lazy_tlb() {
  per_cpu* c = this_cpu_data();
  c->is_lazy.store(0);
  if (c->is_stale.exchange(0)) {
    paging::flush_local_all();
    c->statistics.tlb_flushes++;
  }
}

}  // namespace solaster::kernel

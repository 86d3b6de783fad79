// The local APIC (xAPIC registers, or x2APIC MSRs where the firmware left that mode on) and the IOAPICs.
//
// SAFETY (file): device registers, mapped by map_device at the addresses that the ACPI tables or the processor give.

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/firmware/acpi.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/kernel_map.hh"
#include "kernel/sched/clock.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel {
namespace {

// Intel SDM vol. 3, table 11-1.
enum lapic_register : u32 {
  lapic_tpr = 0x80,
  lapic_eoi = 0xb0,
  lapic_svr = 0xf0,
  lapic_icr_low = 0x300,
  lapic_icr_high = 0x310,
  lapic_timer = 0x320,
  lapic_lint0 = 0x350,
  lapic_lint1 = 0x360,
  lapic_error = 0x370,
  lapic_timer_initial = 0x380,
  lapic_timer_current = 0x390,
  lapic_timer_divide = 0x3e0
};
constexpr u32 svr_enable = 1u << 8, masked = 1u << 16;
constexpr u32 timer_deadline_mode = 2u << 17;
constexpr u32 icr_init = 5u << 8, icr_startup = 6u << 8, icr_nmi = 4u << 8, icr_assert = 1u << 14,
              icr_pending = 1u << 12;
constexpr u32 msr_apic_base = 0x1b, msr_x2apic = 0x800, msr_tsc_deadline = 0x6e0;
constexpr u64 apic_base_x2 = 1u << 10, apic_base_enable = 1u << 11;
constexpr unsigned icr_spin_max = 1'000'000;

volatile u32* registers = nullptr;
bool is_x2 = false;
bool has_deadline = false;
u64 timer_hz = 0;

u32 read_lapic(u32 r) {
  if (is_x2)
    return static_cast<u32>(read_msr(msr_x2apic + (r >> 4)));
  return registers[r / 4];
}
void write_lapic(u32 r, u32 v) {
  if (is_x2) {
    write_msr(msr_x2apic + (r >> 4), v);
  } else {
    registers[r / 4] = v;
  }
}

void send(u32 apic_id, u32 command) {
  const u64 flags = save_flags_and_disable();
  if (is_x2) {
    write_msr(msr_x2apic + (lapic_icr_low >> 4), (static_cast<u64>(apic_id) << 32) | command);
  } else {
    for (unsigned i = 0; i < icr_spin_max && (registers[lapic_icr_low / 4] & icr_pending); i++)
      cpu_relax();
    registers[lapic_icr_high / 4] = apic_id << 24;
    registers[lapic_icr_low / 4] = command;
  }
  restore_flags(flags);
}

// ---- IOAPIC (82093AA): index at 0x00, data at 0x10.
struct io_apic {
  volatile u32* base = nullptr;
  u32 gsi_base = 0;
  u32 entries = 0;
};
io_apic io_apics[8];
unsigned io_apics_found = 0;
spinlock io_lock{rank::object};
constexpr u32 io_version = 1, io_redirection = 0x10;
constexpr u32 io_masked = 1u << 16, io_level = 1u << 15, io_low = 1u << 13;

u32 read_io(io_apic& a, u32 r) {
  a.base[0] = r;
  return a.base[4];
}
void write_io(io_apic& a, u32 r, u32 v) {
  a.base[0] = r;
  a.base[4] = v;
}
io_apic* io_apic_of(u32 gsi) {
  for (unsigned i = 0; i < io_apics_found; i++) {
    if (gsi >= io_apics[i].gsi_base && gsi < io_apics[i].gsi_base + io_apics[i].entries)
      return &io_apics[i];
  }
  return nullptr;
}

}  // namespace

void local_apic_initialise(bool is_boot_cpu) {
  if (is_boot_cpu) {
    const u64 base = read_msr(msr_apic_base);
    is_x2 = (base & apic_base_x2) && (cpuid(1).ecx & (1u << 21));
    has_deadline = cpuid(1).ecx & (1u << 24);
    if (!is_x2)
      registers = static_cast<volatile u32*>(mm::map_device(acpi().local_apic_address, page_size));
    KCHECK(is_x2 || registers);
  }
  write_msr(msr_apic_base, read_msr(msr_apic_base) | apic_base_enable | (is_x2 ? apic_base_x2 : 0));
  write_lapic(lapic_tpr, 0);
  write_lapic(lapic_lint0, masked);
  write_lapic(lapic_lint1, masked);
  write_lapic(lapic_error, masked);
  write_lapic(lapic_timer_divide, 0xb);  // by 1
  write_lapic(lapic_timer, has_deadline ? (timer_deadline_mode | vector_timer) : u32{vector_timer});
  write_lapic(lapic_svr, svr_enable | vector_spurious);
}

void local_apic_eoi() {
  write_lapic(lapic_eoi, 0);
}
void local_apic_send_ipi(u32 id, u8 v) {
  send(id, icr_assert | v);
}
void local_apic_send_nmi(u32 id) {
  send(id, icr_assert | icr_nmi);
}
void local_apic_send_init(u32 id) {
  send(id, icr_assert | icr_init);
}
void local_apic_send_startup(u32 id, u8 page) {
  send(id, icr_assert | icr_startup | page);
}

void local_apic_set_frequency(u64 hz) {
  timer_hz = hz;
}
void local_apic_start_count() {
  write_lapic(lapic_timer, masked | vector_timer);
  write_lapic(lapic_timer_initial, ~0u);
}
u32 local_apic_read_count() {
  return ~0u - read_lapic(lapic_timer_current);
}
void local_apic_stop_count() {
  write_lapic(lapic_timer_initial, 0);
  write_lapic(lapic_timer, has_deadline ? (timer_deadline_mode | vector_timer) : u32{vector_timer});
}

void local_apic_arm(u64 delta_ns) {
  constexpr u64 longest_ns = 1'000'000'000;  // the counter has 32 bits; a longer wait wakes once a second
  if (delta_ns > longest_ns)
    delta_ns = longest_ns;
  if (has_deadline) {
    write_msr(msr_tsc_deadline,
              read_tsc() + static_cast<u64>(static_cast<unsigned __int128>(delta_ns) * tsc_hz() / 1'000'000'000));
    return;
  }
  u64 ticks = static_cast<u64>(static_cast<unsigned __int128>(delta_ns) * timer_hz / 1'000'000'000) + 1;
  write_lapic(lapic_timer_initial, ticks > ~0u ? ~0u : static_cast<u32>(ticks));
}

msi_message msi_for(unsigned cpu, u8 v) {
  // Intel SDM vol. 3, 11.11: fixed delivery, physical destination, edge.
  return {0xfee00000ull | (static_cast<u64>(cpu_data(cpu).apic_id & 0xff) << 12), v};
}

void io_apic_initialise() {
  const acpi_information& a = acpi();
  for (unsigned i = 0; i < a.io_apic_count; i++) {
    io_apic& io = io_apics[io_apics_found];
    io.base = static_cast<volatile u32*>(mm::map_device(a.io_apics[i].address, 0x20));
    if (!io.base)
      continue;
    io.gsi_base = a.io_apics[i].gsi_base;
    io.entries = (read_io(io, io_version) >> 16 & 0xff) + 1;
    if (io.entries > 240)
      continue;
    io_apics_found++;
  }
}

status route_gsi(u32 gsi, u8 v, unsigned cpu, bool is_level, bool is_active_low) {
  io_apic* a = io_apic_of(gsi);
  if (!a)
    return errc::nodev;
  const u32 r = io_redirection + (gsi - a->gsi_base) * 2;
  lock_guard g(io_lock);
  write_io(*a, r, io_masked);
  write_io(*a, r + 1, cpu_data(cpu).apic_id << 24);
  write_io(*a, r, v | (is_level ? io_level : 0) | (is_active_low ? io_low : 0));
  return {};
}

void mask_gsi(u32 gsi) {
  io_apic* a = io_apic_of(gsi);
  if (!a)
    return;
  const u32 r = io_redirection + (gsi - a->gsi_base) * 2;
  lock_guard g(io_lock);
  write_io(*a, r, read_io(*a, r) | io_masked);
}

void route_isa_interrupt(u8 irq, interrupt_handler handler, void* argument) {
  result<u8> v = allocate_vector(handler, argument);
  if (!v)
    return;
  u32 gsi = irq;
  bool level = false, low = false;
  const acpi_information& a = acpi();
  for (unsigned i = 0; i < a.override_count; i++) {
    if (a.overrides[i].irq != irq)
      continue;
    gsi = a.overrides[i].gsi;
    level = a.overrides[i].is_level;
    low = a.overrides[i].is_active_low;
  }
  (void)route_gsi(gsi, *v, 0, level, low);
}

}  // namespace solaster::kernel

// Time by the TSC.
//
// Its frequency comes from the hypervisor's CPUID leaf or kvmclock where they are, else from 200 microseconds beside
// PIT channel 0 (the first, cold try is 15 % wrong and thrown away). The PIT goes on counting: reading both again later
// gives ever longer baselines, and since the error is small against the PIT's 55 ms period at each step, the number of
// its wraps is never in doubt. Spec: Intel 8254; CPUID 15H; KVM's msr.rst; MC146818.

#include "kernel/arch/x86_64/clock.hh"

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/include/solaster/direct.h"
#include "kernel/lib/memory.hh"
#include "kernel/lib/print.hh"
#include "kernel/mm/frames.hh"
#include "kernel/sched/clock.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel {
namespace {

using u128 = unsigned __int128;
constexpr u64 second_ns = 1'000'000'000;
constexpr u64 pit_hz = 1'193'182;
constexpr u16 pit_data = 0x40, pit_command = 0x43;
constexpr u32 calibration_ticks = 239;  // 200 microseconds
constexpr u32 warm_up_ticks = 24;
constexpr u32 clock_shift = 32;

solaster_clock parameters{0, clock_shift, 0, 0, 0, 0};
spinlock write_lock{rank::entropy};
u64 hz = 0;
const char* wall_name = "none";
bool has_pit = false;
u64 first_tsc = 0;
u16 first_pit = 0;
timer refine_timer;
unsigned refinements = 0;

u16 read_pit() {
  out8(pit_command, 0);
  const u8 low = in8(pit_data);
  return static_cast<u16>(low | in8(pit_data) << 8);
}

void start_pit() {
  out8(pit_command, 0x34);  // channel 0, low then high byte, mode 2, binary; count 65536
  out8(pit_data, 0);
  out8(pit_data, 0);
}

struct measurement {
  u64 tsc;
  u32 apic_ticks;
  u32 pit_ticks;
};

// Runs for `ticks` of the PIT. Zero pit_ticks: it does not count.
measurement measure(u32 ticks) {
  constexpr unsigned reads_max = 100'000;
  local_apic_start_count();
  const u16 start = read_pit();
  const u64 tsc = read_tsc();
  u32 passed = 0;
  u64 end = tsc;
  for (unsigned i = 0; i < reads_max && passed < ticks; i++) {
    const u16 now = read_pit();
    end = read_tsc();
    passed = static_cast<u16>(start - now);
    if (i == 64 && passed == 0)
      break;
  }
  return {end - tsc, local_apic_read_count(), passed};
}

void set_frequency(u64 new_hz) {
  const u64 mult = static_cast<u64>((static_cast<u128>(second_ns) << clock_shift) / new_hz);
  lock_guard g(write_lock);
  const u64 tsc = read_tsc();
  const u64 now =
      parameters.mult
          ? parameters.base_ns +
                static_cast<u64>(static_cast<u128>(tsc - parameters.base_tsc) * parameters.mult >> clock_shift)
          : 0;
  // Odd while changing; the readers' partner is the acquire load in now_ns and in the program.
  __atomic_store_n(&parameters.sequence, parameters.sequence + 1, __ATOMIC_RELEASE);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  parameters.base_tsc = tsc;
  parameters.base_ns = now;
  parameters.mult = mult;
  __atomic_store_n(&parameters.sequence, parameters.sequence + 1, __ATOMIC_RELEASE);
  hz = new_hz;
}

// ---- hypervisors
struct [[gnu::packed]] kvm_time {
  u32 version, pad;
  u64 tsc, system_time;
  u32 mul;
  signed char shift;
  u8 flags, pad2[2];
};
struct [[gnu::packed]] kvm_wall {
  u32 version, seconds, nanoseconds;
};
constexpr u32 msr_kvm_wall = 0x4b564d00, msr_kvm_time = 0x4b564d01;
alignas(64) kvm_time kvm_time_page;
alignas(64) kvm_wall kvm_wall_page;

bool hypervisor_is(const char* signature) {
  if (!(cpuid(1).ecx & (1u << 31)))
    return false;
  cpuid_result r = cpuid(0x40000000);
  u32 text[3] = {r.ebx, r.ecx, r.edx};
  return memcmp(text, signature, 12) == 0;
}

// TSC frequency by KVM's paravirtual clock, and the wall clock with it. 0: not there.
u64 read_kvm_clock(i64& wall_ns) {
  if (!hypervisor_is("KVMKVMKVM\0\0") || !(cpuid(0x40000001).eax & (1u << 3)))
    return 0;
  write_msr(msr_kvm_time, mm::virt_to_phys_linear(&kvm_time_page) | 1);
  write_msr(msr_kvm_wall, mm::virt_to_phys_linear(&kvm_wall_page));
  kvm_time t;
  // SAFETY: a compiler barrier, nothing else.
  asm volatile("" ::: "memory");
  memcpy(&t, &kvm_time_page, sizeof t);
  write_msr(msr_kvm_time, 0);
  if (!t.mul)
    return 0;
  // ns = (ticks << shift) * mul >> 32
  u64 result = static_cast<u64>((static_cast<u128>(second_ns) << 32) / t.mul);
  result = t.shift >= 0 ? result >> t.shift : result << -t.shift;
  u64 delta = read_tsc() - t.tsc;
  delta = t.shift >= 0 ? delta << t.shift : delta >> -t.shift;
  const u64 system = t.system_time + static_cast<u64>(static_cast<u128>(delta) * t.mul >> 32);
  if (kvm_wall_page.seconds) {
    wall_ns = static_cast<i64>(kvm_wall_page.seconds * second_ns + kvm_wall_page.nanoseconds + system);
    wall_name = "kvmclock";
  }
  return result;
}

// Leaf 0x40000010 (VMware's, offered by QEMU on KVM): TSC and APIC bus frequency in kHz.
u64 read_hypervisor_leaf(u64& apic_hz) {
  if (!(cpuid(1).ecx & (1u << 31)) || cpuid(0x40000000).eax < 0x40000010)
    return 0;
  cpuid_result r = cpuid(0x40000010);
  apic_hz = r.ebx * u64{1000};
  return r.eax * u64{1000};
}

// ---- CMOS
u8 read_cmos(u8 r) {
  out8(0x70, r | 0x80);
  return in8(0x71);
}
unsigned from_bcd(unsigned v) {
  return (v >> 4) * 10 + (v & 15);
}

i64 days_from_civil(i64 y, unsigned m, unsigned d) {
  // Days since 1970-01-01 of the proleptic Gregorian calendar.
  y -= m <= 2;
  const i64 era = y / 400;
  const u64 yoe = static_cast<u64>(y - era * 400);
  const u64 doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
  const u64 doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
  return era * 146097 + static_cast<i64>(doe) - 719468;
}

bool read_cmos_clock(i64& wall_ns) {
  if (read_cmos(0x0d) == 0xff && read_cmos(0x0b) == 0xff)
    return false;
  constexpr unsigned update_spin_max = 100;  // two equal readings in a row are what counts
  u8 a[6], b[6];
  constexpr u8 fields[6] = {0x00, 0x02, 0x04, 0x07, 0x08, 0x09};
  for (unsigned attempt = 0; attempt < 4; attempt++) {
    for (unsigned i = 0; i < update_spin_max && (read_cmos(0x0a) & 0x80); i++)
      cpu_relax();
    for (int i = 0; i < 6; i++)
      a[i] = read_cmos(fields[i]);
    for (int i = 0; i < 6; i++)
      b[i] = read_cmos(fields[i]);
    if (memcmp(a, b, 6) == 0)
      break;
  }
  const u8 mode = read_cmos(0x0b);
  unsigned v[6];
  const bool pm = !(mode & 2) && (a[2] & 0x80);
  if (!(mode & 2))
    a[2] &= 0x7f;
  for (int i = 0; i < 6; i++)
    v[i] = mode & 4 ? a[i] : from_bcd(a[i]);
  if (!(mode & 2))
    v[2] = v[2] % 12 + (pm ? 12 : 0);
  if (v[4] < 1 || v[4] > 12 || v[3] < 1 || v[3] > 31 || v[2] > 23 || v[1] > 59 || v[0] > 60)
    return false;
  const i64 seconds = days_from_civil(2000 + v[5], v[4], v[3]) * 86400 + v[2] * 3600 + v[1] * 60 + v[0];
  wall_ns = seconds * static_cast<i64>(second_ns);
  wall_name = "cmos";
  return true;
}

// ---- refinement
constexpr u64 refine_at[] = {20'000'000, 500'000'000, 10 * second_ns};

void on_refine(timer*) {
  const u16 pit = read_pit();
  const u64 tsc = read_tsc();
  const u64 estimate = static_cast<u64>(static_cast<u128>(tsc - first_tsc) * pit_hz / hz);
  const u16 phase = static_cast<u16>(first_pit - pit);
  const i64 wraps = (static_cast<i64>(estimate) - phase + 32768) >> 16;
  const u64 ticks = static_cast<u64>(wraps * 65536 + phase);
  if (ticks) {
    const u64 measured = static_cast<u64>(static_cast<u128>(tsc - first_tsc) * pit_hz / ticks);
    const u64 off = measured > hz ? measured - hz : hz - measured;
    if (off < hz / 50)
      set_frequency(measured);  // more than 2 % is a machine that was stopped, not a better reading
  }
  if (++refinements < sizeof refine_at / sizeof refine_at[0])
    sched::arm(refine_timer, refine_at[refinements]);
}

}  // namespace

u64 tsc_hz() {
  return hz;
}
const char* wall_clock_name() {
  return wall_name;
}
const solaster_clock* clock_parameters() {
  return &parameters;
}

u64 now_ns() {
  for (;;) {
    const u32 sequence = __atomic_load_n(&parameters.sequence, __ATOMIC_ACQUIRE);
    const u64 base_tsc = parameters.base_tsc, base_ns = parameters.base_ns, mult = parameters.mult;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((sequence & 1) || __atomic_load_n(&parameters.sequence, __ATOMIC_RELAXED) != sequence) {
      cpu_relax();
      continue;
    }
    const u64 tsc = read_tsc();
    if (tsc < base_tsc)
      return base_ns;  // another CPU's TSC a little behind
    return base_ns + static_cast<u64>(static_cast<u128>(tsc - base_tsc) * mult >> clock_shift);
  }
}

i64 realtime_ns() {
  return static_cast<i64>(now_ns()) + __atomic_load_n(&parameters.realtime_offset_ns, __ATOMIC_RELAXED);
}
void set_realtime_ns(i64 now) {
  __atomic_store_n(&parameters.realtime_offset_ns, now - static_cast<i64>(now_ns()), __ATOMIC_RELAXED);
}

void clock_initialise() {
  i64 wall = 0;
  u64 apic_hz = 0;
  u64 found = read_kvm_clock(wall);
  u64 by_leaf = read_hypervisor_leaf(apic_hz);
  if (!found)
    found = by_leaf;
  if (!found || !apic_hz) {
    start_pit();
    (void)measure(warm_up_ticks);
    measurement m = measure(calibration_ticks);
    has_pit = m.pit_ticks >= calibration_ticks;
    if (has_pit) {
      if (!found)
        found = static_cast<u64>(static_cast<u128>(m.tsc) * pit_hz / m.pit_ticks);
      if (!apic_hz)
        apic_hz = static_cast<u64>(static_cast<u128>(m.apic_ticks) * pit_hz / m.pit_ticks);
      first_pit = read_pit();
      first_tsc = read_tsc();
    }
  }
  const bool by_guess = !found;
  if (!found)
    found = 1'000'000'000;
  if (!apic_hz)
    apic_hz = 1'000'000'000;
  local_apic_set_frequency(apic_hz);
  set_frequency(found);
  if (by_guess)
    log::warn("clock: no PIT and no frequency from the hypervisor; assuming 1 GHz");
  if (!wall)
    (void)read_cmos_clock(wall);
  if (wall) {
    set_realtime_ns(wall);
  } else {
    log::warn("clock: no source of wall time (microvm: rtc=on): it starts in 1970");
  }
  log::info("clock: tsc {} kHz, apic timer {} kHz, wall time from {}", found / 1000, apic_hz / 1000, wall_name);
}

void clock_start_refining() {
  if (!has_pit)
    return;
  refine_timer.fire = on_refine;
  sched::arm(refine_timer, refine_at[0]);
}

}  // namespace solaster::kernel

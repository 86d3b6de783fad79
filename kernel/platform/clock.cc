// Time by the TSC.
//
// Its frequency comes from the hypervisor's CPUID leaf or kvmclock where they are, else from 200 microseconds beside
// PIT channel 0 (the first, cold try is 15 % wrong and thrown away). The PIT goes on counting, and clock_discipline
// judges the frequency by it for as long as the machine runs. Spec: Intel 8254; CPUID 15H; KVM's msr.rst; MC146818.

#include "kernel/arch/x86_64/clock.hh"

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/include/solaster/direct.h"
#include "kernel/lib/memory.hh"
#include "kernel/lib/print.hh"
#include "kernel/mm/frames.hh"
#include "kernel/platform/clock_discipline.hh"
#include "kernel/sched/clock.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel {
namespace {

using u128 = unsigned __int128;
constexpr u64 second_ns = 1'000'000'000;
constexpr u16 pit_data = 0x40, pit_command = 0x43;
constexpr u32 calibration_ticks = 239;  // 200 microseconds
constexpr u32 warm_up_ticks = 24;
constexpr u64 first_look_ns = 20'000'000;
constexpr u32 clock_shift = 32;

solaster_clock parameters{0, clock_shift, 0, 0, 0, 0};
spinlock write_lock{rank::entropy};
u64 hz = 0;
const char* wall_name = "none";
bool has_pit = false;
clock_discipline discipline;
timer refine_timer;

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

struct full_reading : clock_reading {
  u32 apic_ticks = 0;
};

// The host may take the CPU away in the middle: of some readings, the one that took least.
full_reading read_together() {
  constexpr int tries = 6;
  full_reading best;
  best.gap = ~u64{0};
  for (int i = 0; i < tries; i++) {
    const u64 before = read_tsc();
    const u16 pit = read_pit();
    const u32 apic_ticks = local_apic_read_count();
    const u64 after = read_tsc();
    if (after - before >= best.gap)
      continue;
    best.tsc = before + (after - before) / 2;
    best.pit = pit;
    best.apic_ticks = apic_ticks;
    best.gap = after - before;
  }
  return best;
}

struct measurement {
  u64 tsc = 0;
  u64 apic_ticks = 0;
  u64 pit_ticks = 0;  // 0: the PIT does not count
  u64 gap = 0;        // how far off the ticks of the TSC may be
};

// Runs for `ticks` of the PIT, or somewhat longer.
measurement measure(u32 ticks) {
  constexpr unsigned reads_max = 100'000;
  const full_reading start = read_together();
  for (unsigned i = 0; i < reads_max; i++) {
    const u16 passed = static_cast<u16>(start.pit - read_pit());
    if (passed >= ticks)
      break;
    if (i == 64 && passed == 0)
      return {};
  }
  const full_reading end = read_together();
  return {end.tsc - start.tsc, end.apic_ticks - start.apic_ticks, static_cast<u16>(start.pit - end.pit),
          start.gap + end.gap};
}

// The best of a few, unless the first is good.
measurement calibrate() {
  constexpr int tries = 3;
  constexpr u64 good_part = 50;
  local_apic_start_count();
  (void)measure(warm_up_ticks);
  measurement best;
  for (int i = 0; i < tries; i++) {
    const measurement m = measure(calibration_ticks);
    if (m.pit_ticks && (!best.pit_ticks || m.gap * best.tsc < best.gap * m.tsc))
      best = m;
    if (best.pit_ticks && best.gap * good_part < best.tsc)
      break;
  }
  local_apic_stop_count();
  return best;
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

void on_refine(timer*) {
  constexpr int tries = 4;
  constexpr u64 usual_part = 100'000;  // of a second: 10 microseconds
  clock_reading best;
  best.gap = ~u64{0};
  for (int i = 0; i < tries && best.gap > hz / usual_part; i++) {
    const u64 before = read_tsc();
    const u16 pit = read_pit();
    const u64 after = read_tsc();
    if (after - before < best.gap)
      best = {before + (after - before) / 2, pit, after - before};
  }
  const clock_discipline::verdict v = discipline.judge(best);
  if (v.hz != hz)
    set_frequency(v.hz);
  sched::arm(refine_timer, now_ns() + v.look_again_ns);
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
    if ((sequence & 1) || __atomic_load_n(&parameters.sequence, __ATOMIC_RELAXED) != sequence) [[unlikely]] {
      cpu_relax();
      continue;
    }
    const u64 tsc = read_tsc();
    if (tsc < base_tsc) [[unlikely]]
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

void clock_initialise(u64 asked_hz) {
  i64 wall = 0;
  u64 apic_hz = 0;
  u64 found = read_kvm_clock(wall);
  u64 by_leaf = read_hypervisor_leaf(apic_hz);
  if (!found)
    found = by_leaf;
  if (!found || !apic_hz) {
    start_pit();
    const measurement m = calibrate();
    has_pit = m.pit_ticks >= calibration_ticks;
    if (has_pit) {
      if (!found)
        found = static_cast<u64>(static_cast<u128>(m.tsc) * pit_hz / m.pit_ticks);
      if (!apic_hz)
        apic_hz = static_cast<u64>(static_cast<u128>(m.apic_ticks) * pit_hz / m.pit_ticks);
    }
  }
  if (asked_hz)
    found = asked_hz;
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
  discipline.start(read_together(), hz);
  refine_timer.fire = on_refine;
  sched::arm(refine_timer, now_ns() + first_look_ns);
}

}  // namespace solaster::kernel

#include "kernel/arch/x86_64/xstate.hh"

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/xstate_private.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"

// SAFETY (file): every instruction here reads or writes one save area of xstate_size() bytes on 64, or a control word.

namespace solaster::kernel {

xstate_format xstate_in_use;

namespace {

// Intel SDM vol. 1, 13.1: x87, SSE, AVX, and the three of AVX-512. Protection keys do not bind ring 0 and stay off.
constexpr u32 wanted_components = 0x7 | 0xe0;
constexpr u64 cr4_osfxsr = 1u << 9, cr4_osxmmexcpt = 1u << 10, cr4_osxsave = 1u << 18, cr4_fsgsbase = 1u << 16;
constexpr u64 cr0_em = 1u << 2, cr0_mp = 1u << 1, cr0_ts = 1u << 3, cr0_ne = 1u << 5;
constexpr usize legacy_size = 512, header_size = 64;
constexpr u32 mxcsr_default = 0x1f80, mxcsr_mask_default = 0xffbf;  // of a CPU that says nothing (SDM 11.6.6)

usize size = legacy_size + header_size;
u32 mxcsr_mask = mxcsr_mask_default;
bool has_xsaveopt = false;
constexpr u32& mask = xstate_in_use.components;
constexpr bool& has_xsave = xstate_in_use.has_xsave;

struct [[gnu::packed]] area_header {
  u16 fcw, fsw;
  u8 ftw, reserved0;
  u16 fop;
  u64 fip, fdp;
  u32 mxcsr, mxcsr_mask;
  u8 registers[480];
  u64 xstate_bv, xcomp_bv;
  u64 reserved[6];
};
static_assert(sizeof(area_header) == legacy_size + header_size);

}  // namespace

usize xstate_size() {
  return size;
}
u64 xstate_mask() {
  return mask;
}

void xstate_initialise_cpu() {
  cpuid_result features = cpuid(1);
  has_xsave = features.ecx & (1u << 26);
  write_cr0((read_cr0() & ~(cr0_em | cr0_ts)) | cr0_mp | cr0_ne);
  u64 cr4 = (read_cr4() | cr4_osfxsr | cr4_osxmmexcpt) & ~cr4_fsgsbase;
  write_cr4(has_xsave ? cr4 | cr4_osxsave : cr4);
  alignas(16) static area_header probe;  // each CPU finds the same
  asm volatile("fxsave64 (%0)" ::"r"(&probe) : "memory");
  mxcsr_mask = probe.mxcsr_mask ? probe.mxcsr_mask : mxcsr_mask_default;
  if (!has_xsave) {
    mask = 3;
    return;
  }
  cpuid_result leaf = cpuid(0xd, 0);
  mask = leaf.eax & wanted_components;
  if ((mask & 0xe0) != 0xe0 || !(mask & 4))
    mask &= 7;
  asm volatile("xsetbv" ::"c"(0), "a"(mask), "d"(0));
  size = cpuid(0xd, 0).ebx;
  has_xsaveopt = cpuid(0xd, 1).eax & 1;
}

void xstate_save(void* area) {
  // SAFETY: XSAVE does not write all of the header; the area was zeroed when it was made, or holds an earlier save.
  if (has_xsave) {
    auto* h = static_cast<area_header*>(area);
    h->xcomp_bv = 0;
    for (u64& r : h->reserved)
      r = 0;
    h->xstate_bv &= mask;
    asm volatile("xsave64 (%0)" ::"r"(area), "a"(mask), "d"(0) : "memory");
  } else {
    asm volatile("fxsave64 (%0)" ::"r"(area) : "memory");
  }
}

void xstate_load(void* area) {
  auto* h = static_cast<area_header*>(area);
  h->mxcsr &= mxcsr_mask;
  if (has_xsave) {
    h->xstate_bv &= mask;
    h->xcomp_bv = 0;
    for (u64& r : h->reserved)
      r = 0;
    asm volatile("xrstor64 (%0)" ::"r"(area), "a"(mask), "d"(0) : "memory");
  } else {
    asm volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
  }
}

void xstate_initialise_area(void* area) {
  memset(area, 0, size);
  auto* h = static_cast<area_header*>(area);
  h->fcw = 0x37f;
  h->mxcsr = mxcsr_default;
  h->xstate_bv = 0;
}

void xstate_reset() {
  alignas(64) static area_header initial;
  // Every caller writes the same values.
  initial.fcw = 0x37f;
  initial.mxcsr = mxcsr_default;
  if (has_xsave) {
    asm volatile("xrstor64 (%0)" ::"r"(&initial), "a"(mask), "d"(0) : "memory");
    u32 mxcsr =
        mxcsr_default;  // XRSTOR with SSE in its initial state still loads MXCSR from the area; explicit all the same
    asm volatile("ldmxcsr %0" ::"m"(mxcsr));
  } else {
    asm volatile("fxrstor64 (%0)" ::"r"(&initial) : "memory");
  }
}

void xstate_save_light(light_xstate& s) {
  asm volatile("stmxcsr %0; fnstcw %1" : "=m"(s.mxcsr), "=m"(s.fcw));
}
void xstate_load_light(const light_xstate& s) {
  asm volatile("fninit; fldcw %1; ldmxcsr %0" ::"m"(s.mxcsr), "m"(s.fcw));
}

}  // namespace solaster::kernel

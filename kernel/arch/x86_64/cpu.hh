// Single instructions: flags, ports, MSRs, control registers, CPUID.
//
// Context: any.
//
// SAFETY (file): each function is one instruction that the caller must be entitled to.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

inline u64 save_flags_and_disable() {
  u64 flags;
  asm volatile("pushfq; popq %0; cli" : "=r"(flags)::"memory");
  return flags;
}
inline void restore_flags(u64 flags) {
  if (flags & (1u << 9))
    asm volatile("sti" ::: "memory");
}
inline void disable_interrupts() {
  asm volatile("cli" ::: "memory");
}
inline void enable_interrupts() {
  asm volatile("sti" ::: "memory");
}
inline bool interrupts_enabled() {
  u64 flags;
  asm volatile("pushfq; popq %0" : "=r"(flags)::"memory");
  return flags & (1u << 9);
}
inline void cpu_relax() {
  asm volatile("pause");
}

inline void out8(u16 port, u8 v) {
  asm volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
inline void out16(u16 port, u16 v) {
  asm volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
inline u8 in8(u16 port) {
  u8 v;
  asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}

inline u64 read_msr(u32 msr) {
  u32 lo, hi;
  asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
  return (static_cast<u64>(hi) << 32) | lo;
}
inline void write_msr(u32 msr, u64 v) {
  asm volatile("wrmsr" ::"c"(msr), "a"(static_cast<u32>(v)), "d"(static_cast<u32>(v >> 32)) : "memory");
}
inline u64 read_tsc() {
  u32 lo, hi;
  asm volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
  return (static_cast<u64>(hi) << 32) | lo;
}

struct cpuid_result {
  u32 eax, ebx, ecx, edx;
};
inline cpuid_result cpuid(u32 leaf, u32 sub = 0) {
  cpuid_result r;
  asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(sub));
  return r;
}

#define SOLASTER_CONTROL_REGISTER(n)                         \
  inline u64 read_cr##n() {                                  \
    u64 v;                                                   \
    asm volatile("movq %%cr" #n ", %0" : "=r"(v)::"memory"); \
    return v;                                                \
  }                                                          \
  inline void write_cr##n(u64 v) {                           \
    asm volatile("movq %0, %%cr" #n ::"r"(v) : "memory");    \
  }
SOLASTER_CONTROL_REGISTER(0)
SOLASTER_CONTROL_REGISTER(2)
SOLASTER_CONTROL_REGISTER(3)
SOLASTER_CONTROL_REGISTER(4)
#undef SOLASTER_CONTROL_REGISTER

inline void invalidate_page(uptr address) {
  asm volatile("invlpg (%0)" ::"r"(address) : "memory");
}

}  // namespace solaster::kernel

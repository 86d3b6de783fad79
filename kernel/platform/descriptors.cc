#include "kernel/arch/x86_64/descriptors.hh"

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/arch/x86_64/traps.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/kernel_map.hh"
#include "kernel/sched/thread.hh"

// SAFETY (file): tables are addresses as numbers by nature; what SGDT finds is what load_descriptors has loaded.

namespace solaster::kernel {
namespace {

struct [[gnu::packed]] task_state_segment {
  u32 reserved0;
  u64 rsp[3];
  u64 reserved1;
  u64 ist[7];
  u64 reserved2;
  u16 reserved3;
  u16 io_map_base;
};
static_assert(sizeof(task_state_segment) == 104);

struct cpu_descriptors {
  u64 gdt[6];
  alignas(16) task_state_segment tss;
  per_cpu* data;  // GS's base, for when GS has lost it
};
bool have_descriptors = false;  // the boot CPU's: no exception enters on an IST stack before

struct [[gnu::packed]] table_pointer {
  u16 limit;
  u64 base;
};

struct gate {
  u16 offset_low;
  u16 selector;
  u8 ist;
  u8 type;
  u16 offset_middle;
  u32 offset_high;
  u32 reserved;
};
static_assert(sizeof(gate) == 16);

constexpr u8 interrupt_gate = 0x8e;  // present, ring 0, 64-bit interrupt gate
constexpr usize stub_size = 16;

// MSRs of `syscall` (Intel SDM vol. 4).
constexpr u32 msr_star = 0xc0000081, msr_lstar = 0xc0000082, msr_fmask = 0xc0000084, msr_efer = 0xc0000080;
constexpr u32 msr_gs_base = 0xc0000101, msr_kernel_gs_base = 0xc0000102;
constexpr u64 efer_sce = 1, efer_nxe = 1u << 11;
constexpr u64 fmask = 0x47700;  // IF, TF, DF, IOPL, NT, AC

alignas(16) gate idt[256];

extern "C" char interrupt_stubs[];

u8 ist_of(unsigned vector) {
  if (vector == 2)
    return ist_nmi;
  if (vector == 8)
    return ist_double_fault;
  if (vector == 18)
    return ist_machine_check;
  return vector < 32 ? ist_exception : ist_interrupt;
}

}  // namespace

void interrupts_initialise_tables(bool with_stacks) {
  for (unsigned i = 0; i < 256; i++) {
    // SAFETY: the address of an object or of code as a number, for the processor.
    u64 target = reinterpret_cast<u64>(interrupt_stubs) + i * stub_size;
    idt[i] = {static_cast<u16>(target),
              selector_code,
              with_stacks ? ist_of(i) : u8{ist_none},
              interrupt_gate,
              static_cast<u16>(target >> 16),
              static_cast<u32>(target >> 32),
              0};
  }
}

// A program may load a selector into GS, as on Linux; that clears the base, and the kernel's next access by GS faults
// (nothing can be mapped below mm::program_base). The CPU's descriptor table still knows. SWAPGS exchanges two equal
// values.
bool restore_gs_base() {
  if (!have_descriptors)
    return false;
  table_pointer p;
  asm volatile("sgdt %0" : "=m"(p));
  // SAFETY: load_descriptors has put the table at the start of its cpu_descriptors.
  const u64 wanted = reinterpret_cast<u64>(reinterpret_cast<cpu_descriptors*>(p.base)->data);
  if (read_msr(msr_gs_base) == wanted)
    return false;
  write_msr(msr_gs_base, wanted);
  return true;
}

void load_interrupt_table() {
  // SAFETY: the address of an object or of code as a number, for the processor.
  table_pointer p{sizeof idt - 1, reinterpret_cast<u64>(idt)};
  asm volatile("lidt %0" ::"m"(p));
}

void load_descriptors(unsigned cpu) {
  per_cpu& data = cpu_data(cpu);
  auto* d = static_cast<cpu_descriptors*>(kzalloc(sizeof(cpu_descriptors)));
  KCHECK(d);
  auto stack = [&](usize size, stack_range& range) {
    u64 top = mm::allocate_kernel_stack_of(size);
    range = {top - size, top};
    return top;
  };
  d->tss.ist[ist_nmi - 1] = stack(4096, data.nmi_stack);
  d->tss.ist[ist_double_fault - 1] = stack(4096, data.double_fault_stack);
  d->tss.ist[ist_machine_check - 1] = stack(4096, data.machine_check_stack);
  d->tss.ist[ist_exception - 1] = stack(8192, data.exception_stack);
  d->tss.ist[ist_interrupt - 1] = stack(16384, data.interrupt_stack);
  d->tss.io_map_base = sizeof(task_state_segment);

  // SAFETY: the address of an object or of code as a number, for the processor.
  u64 base = reinterpret_cast<u64>(&d->tss);
  d->gdt[1] = 0x00af9b000000ffff;
  d->gdt[2] = 0x00cf93000000ffff;
  d->gdt[3] =
      (sizeof(task_state_segment) - 1) | ((base & 0xffffff) << 16) | (0x89ull << 40) | ((base >> 24 & 0xff) << 56);
  d->gdt[4] = base >> 32;
  d->gdt[5] = 0x00cff3000000ffff;  // what Linux has there: a program may load 0x2b into DS, ES, FS and GS
  d->data = &data;
  table_pointer p{sizeof d->gdt - 1, reinterpret_cast<u64>(d->gdt)};
  // SAFETY: the same flat segments as before, then the TSS. GS base is set again, for a load of GS clears it.
  u64 gs_base = read_msr(msr_gs_base);
  asm volatile(
      "lgdt %0\n\t"
      "pushq $8\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "lretq\n"
      "1: movl $0x10, %%eax\n\t"
      "movl %%eax, %%ds\n\t"
      "movl %%eax, %%es\n\t"
      "movl %%eax, %%ss\n\t"
      "movl $0x18, %%eax\n\t"
      "ltr %%ax" ::"m"(p)
      : "rax", "memory");
  write_msr(msr_gs_base, gs_base);
  write_msr(msr_kernel_gs_base, gs_base);
  have_descriptors = true;
  load_interrupt_table();

  write_msr(msr_efer, read_msr(msr_efer) | efer_sce | efer_nxe);
  write_msr(msr_star, u64{selector_code} << 32);
  // SAFETY: the address of an object or of code as a number, for the processor.
  write_msr(msr_lstar, reinterpret_cast<u64>(&syscall_entry));
  write_msr(msr_fmask, fmask);
}

}  // namespace solaster::kernel

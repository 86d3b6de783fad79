// The first instructions of the other CPUs: copied to trampoline_page (below 1 MiB), from real mode to 64-bit mode on the
// early page tables, then to the linked address and the real ones.

#define BASE 0xffffffff80000000
#define PHYS(x) ((x) - BASE)
#define PAGE 0x8000
#define LOW(x) ((x) - trampoline_start + PAGE)

  .section .rodata
  .balign 16
  .globl trampoline_start
trampoline_start:
  .code16
  cli
  cld
  xorw %ax, %ax
  movw %ax, %ds
  lgdtl LOW(trampoline_gdt_pointer)
  movl $0x11, %eax            // PE, ET; caches on
  movl %eax, %cr0
  ljmpl $0x18, $LOW(1f)
  .code32
1:
  movw $0x10, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movl $0x20, %eax            // PAE
  movl %eax, %cr4
  movl $PHYS(early_pml4), %eax
  movl %eax, %cr3
  movl $0xc0000080, %ecx
  rdmsr
  orl $0x900, %eax            // LME, NXE
  wrmsr
  movl $0x80010033, %eax      // PG, WP, NE, ET, MP, PE
  movl %eax, %cr0
  ljmp $8, $LOW(2f)
  .code64
2:
  movabsq $secondary_entry, %rax
  jmp *%rax
  .balign 8
trampoline_gdt:
  .quad 0
  .quad 0x00af9b000000ffff    // 64-bit code
  .quad 0x00cf93000000ffff    // data
  .quad 0x00cf9b000000ffff    // 32-bit code
trampoline_gdt_pointer:
  .word 31
  .long LOW(trampoline_gdt)
  .globl trampoline_end
trampoline_end:

  .section .text.entry, "ax", @progbits
secondary_entry:
  movl $0x10, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  xorl %eax, %eax
  movl %eax, %fs
  movl %eax, %gs
  movq secondary_root(%rip), %rax
  movq %rax, %cr3
  movl $1, %eax
  lock xaddl %eax, secondary_ticket(%rip)
  leaq secondary_stacks(%rip), %rcx
  movq (%rcx, %rax, 8), %rsp
  movq %rsp, %rdi
  xorl %ebp, %ebp
  call secondary_main
  ud2

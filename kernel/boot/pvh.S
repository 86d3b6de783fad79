// The PVH entry: 32-bit protected mode, no paging, EBX = start_info. Builds the first page tables (4 GiB identity and physical
// map, 1 GiB of the kernel's half, all by 2 MiB pages), goes to 64-bit mode at the linked address and calls kernel_start.
// Spec: Xen's x86/HVM direct boot ABI (PVH), hvm/start_info.h. QEMU's CR0 is 0x11; our own GDT comes before any segment load.

#define BASE 0xffffffff80000000
#define PHYS(x) ((x) - BASE)

  .section .note.Xen, "a", @note
  .balign 4
  .long 4                     // name size
  .long 4                     // descriptor size
  .long 18                    // XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .long PHYS(pvh_entry)

  .section .text.boot, "ax", @progbits
  .code32
  .globl pvh_entry
pvh_entry:
  cld
  cli
  movl %ebx, %esi             // keep start_info

  // Page directories: 2048 entries of 2 MiB.
  movl $PHYS(early_pd), %edi
  movl $0x83, %eax            // present, writable, 2 MiB
  movl $2048, %ecx
1:
  movl %eax, (%edi)
  movl $0, 4(%edi)
  addl $8, %edi
  addl $0x200000, %eax
  decl %ecx
  jnz 1b
  // Page-directory pointers: low 4 GiB; the kernel's half shares the first directory.
  movl $PHYS(early_pdpt), %edi
  movl $(PHYS(early_pd) + 3), %eax
  movl %eax, (%edi)
  movl %eax, (4096 + 510 * 8)(%edi)
  addl $0x1000, %eax
  movl %eax, 8(%edi)
  addl $0x1000, %eax
  movl %eax, 16(%edi)
  addl $0x1000, %eax
  movl %eax, 24(%edi)
  movl $PHYS(early_pml4), %edi
  movl $(PHYS(early_pdpt) + 3), %eax
  movl %eax, (%edi)
  movl %eax, (256 * 8)(%edi)
  addl $0x1000, %eax
  movl %eax, (511 * 8)(%edi)

  movl $PHYS(early_pml4), %eax
  movl %eax, %cr3
  movl %cr4, %eax
  orl $0x20, %eax             // PAE
  movl %eax, %cr4
  movl $0xc0000080, %ecx      // EFER
  rdmsr
  orl $0x900, %eax            // LME, NXE
  wrmsr
  movl %cr0, %eax
  orl $0x80010001, %eax       // PG, WP, PE
  movl %eax, %cr0
  lgdt PHYS(early_gdt_pointer)
  ljmp $8, $PHYS(2f)
  .code64
2:
  movabsq $3f, %rax
  jmp *%rax
3:
  movl $0x10, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  xorl %eax, %eax
  movl %eax, %fs
  movl %eax, %gs
  leaq boot_stack_top(%rip), %rsp
  xorl %ebp, %ebp
  movl %esi, %edi
  call kernel_start
4:
  hlt
  jmp 4b

  .section .rodata
  .balign 8
early_gdt:
  .quad 0
  .quad 0x00af9b000000ffff    // 64-bit code
  .quad 0x00cf93000000ffff    // data
early_gdt_pointer:
  .word 23
  .long PHYS(early_gdt)
  .long 0

  .section .bss
  .balign 4096
  .globl early_pml4
early_pml4:
  .skip 4096
early_pdpt:
  .skip 8192
early_pd:
  .skip 16384
  .globl boot_stack
boot_stack:                   // its first page becomes the guard
  .skip 20480
  .globl boot_stack_top
boot_stack_top:

// The ways into and out of the kernel: system calls, interrupts, exceptions; the switch of stacks; the first return.
//
// Programs run in ring 0 and use the 128 bytes below RSP, so nothing here pushes on a program's stack: interrupts and
// exceptions enter on IST stacks, `syscall` loads the thread's kernel stack first. Entries touch only memory that cannot fault
// (per-CPU data, kernel stacks). A frame that must outlive its IST stack (a switch, a nested fault) is copied to the thread's
// kernel stack by the C++ side, which returns the copy's address.
// Layouts: trap_frame (frame.hh), per_cpu (per_cpu.hh), thread (thread.hh): offsets asserted there.

#define GS_CURRENT %gs:8
#define GS_SCRATCH %gs:16
#define GS_NEED_RESCHED %gs:24
#define GS_SYSTEM_CALLS %gs:32
#define T_STACK_TOP 0
#define T_DEPTH 8
#define T_WORK 12
#define T_FRAME 32
// From the frame's low end.
#define F_R10 (5 * 8)
#define F_R9 (6 * 8)
#define F_R8 (7 * 8)
#define F_RDI (8 * 8)
#define F_RSI (9 * 8)
#define F_RBP (10 * 8)
#define F_RBX (11 * 8)
#define F_RDX (12 * 8)
#define F_RAX (14 * 8)
#define F_FULL (15 * 8)
#define F_RIP (18 * 8)
#define F_RFLAGS (20 * 8)
#define F_RSP (21 * 8)

  .macro push_registers
  pushq %rax
  pushq %rcx
  pushq %rdx
  pushq %rbx
  pushq %rbp
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  .endm

  .macro pop_registers_and_iret
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rbp
  popq %rbx
  popq %rdx
  popq %rcx
  popq %rax
  addq $24, %rsp
  iretq
  .endm

  .section .text.entry, "ax", @progbits

// ---- system calls. FMASK has cleared IF, TF, DF, IOPL, NT and AC.
  .globl syscall_entry
  .type syscall_entry, @function
syscall_entry:
  movq %rsp, GS_SCRATCH
  movq GS_CURRENT, %rsp
  movq T_STACK_TOP(%rsp), %rsp
  pushq $0x10
  pushq GS_SCRATCH
  pushq %r11
  pushq $8
  pushq %rcx
  pushq %rax
  pushq $0x100
  pushq $0
  push_registers
  movq GS_CURRENT, %rbx
  incl T_DEPTH(%rbx)
  incq GS_SYSTEM_CALLS
  movq %rsp, T_FRAME(%rbx)
  movq %rsp, %rdi
  xorl %ebp, %ebp
  sti
  call syscall_dispatch
  movq %rax, F_RAX(%rsp)
  cli
syscall_return:
  movl T_WORK(%rbx), %ecx
  orl GS_NEED_RESCHED, %ecx
  orl F_FULL(%rsp), %ecx
  jnz syscall_work
  movq F_RFLAGS(%rsp), %r11
  testl $0x47500, %r11d  // TF, DF, IOPL, NT, AC: rare, by iretq
  jnz syscall_full_return
  decl T_DEPTH(%rbx)
  // rax is the result; r12 to r15 are the program's, C has kept them.
  movq F_R10(%rsp), %r10
  movq F_R9(%rsp), %r9
  movq F_R8(%rsp), %r8
  movq F_RDI(%rsp), %rdi
  movq F_RSI(%rsp), %rsi
  movq F_RBP(%rsp), %rbp
  movq F_RBX(%rsp), %rbx
  movq F_RDX(%rsp), %rdx
  movq F_RIP(%rsp), %rcx
  pushq %r11
  andq $~0x200, (%rsp)
  popfq
  movq F_RSP(%rsp), %rsp
  // The exit window: RSP is the program's and interrupts are off until the jump has been taken.
  sti
  jmp *%rcx
syscall_work:
  movl T_WORK(%rbx), %ecx
  orl GS_NEED_RESCHED, %ecx
  jz syscall_full_return
  movq %rsp, %rdi
  call return_work
  movq F_RAX(%rsp), %rax
  jmp syscall_return
syscall_full_return:
  decl T_DEPTH(%rbx)
  pop_registers_and_iret
  .size syscall_entry, . - syscall_entry

// ---- interrupts (IST). irq_entry returns null, or a copy of the frame on the thread's kernel stack when the thread is to be
// switched or has work to do: then the rest runs there.
  .type irq_common, @function
irq_common:
  pushq $0
  push_registers
  cld
  movq %rsp, %rbx
  movq %rsp, %rdi
  xorl %ebp, %ebp
  andq $-16, %rsp
  call irq_entry
  testq %rax, %rax
  jz 1f
  movq %rax, %rbx
  movq %rax, %rsp
  movq %rax, %rdi
  call preempted
1:
  movq %rbx, %rsp
  pop_registers_and_iret
  .size irq_common, . - irq_common

// ---- exceptions (IST): the frame always moves to the thread's kernel stack. exception_entry returns null when there is nothing
// to do but to try the instruction again.
  .type exception_common, @function
exception_common:
  pushq $0
  push_registers
  cld
  movq %rsp, %rbx
  movq %rsp, %rdi
  xorl %ebp, %ebp
  andq $-16, %rsp
  call exception_entry
  testq %rax, %rax
  jz 1f
  movq %rax, %rbx
  movq %rax, %rsp
  movq %rax, %rdi
  call exception_body
1:
  movq %rbx, %rsp
  pop_registers_and_iret
  .size exception_common, . - exception_common

// ---- NMI, double fault, machine check: on their own stacks to the end.
  .type fatal_common, @function
fatal_common:
  pushq $0
  push_registers
  cld
  movq %rsp, %rbx
  movq %rsp, %rdi
  xorl %ebp, %ebp
  andq $-16, %rsp
  call fatal_exception
  movq %rbx, %rsp
  pop_registers_and_iret
  .size fatal_common, . - fatal_common

  .macro stub n, has_error, target
  .balign 16
stub_\n:
  .if \has_error == 0
  pushq $0
  .endif
  pushq $\n
  jmp \target
  .endm

  .balign 16
  .globl interrupt_stubs
interrupt_stubs:
  .altmacro
  .set i, 0
  .rept 256
    .if (i == 2) || (i == 18)
      stub %i, 0, fatal_common
    .elseif i == 8
      stub %i, 1, fatal_common
    .elseif (i == 10) || (i == 11) || (i == 12) || (i == 13) || (i == 14) || (i == 17) || (i == 21)
      stub %i, 1, exception_common
    .elseif i < 32
      stub %i, 0, exception_common
    .else
      stub %i, 0, irq_common
    .endif
    .set i, i + 1
  .endr
  .noaltmacro

// ---- void switch_stacks(u64* save_rsp, u64 load_rsp)
  .globl switch_stacks
  .type switch_stacks, @function
switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size switch_stacks, . - switch_stacks

// A new thread comes here out of its first switch, on an empty kernel stack.
  .globl thread_start
  .type thread_start, @function
thread_start:
  xorl %ebp, %ebp
  andq $-16, %rsp
  call thread_first
  ud2
  .size thread_start, . - thread_start

// ---- [[noreturn]] void return_to_frame(trap_frame*): interrupts are off, the thread's depth becomes 0.
  .globl return_to_frame
  .type return_to_frame, @function
return_to_frame:
  movq %rdi, %rsp
  movq GS_CURRENT, %rbx
  movl $0, T_DEPTH(%rbx)
  pop_registers_and_iret
  .size return_to_frame, . - return_to_frame

// ---- u64 call_on_stack(u64 (*function)(void*), void* argument, u64 top)
  .globl call_on_stack
  .type call_on_stack, @function
call_on_stack:
  pushq %rbp
  movq %rsp, %rbp
  movq %rdx, %rsp
  andq $-16, %rsp
  movq %rdi, %rax
  movq %rsi, %rdi
  call *%rax
  leave
  ret
  .size call_on_stack, . - call_on_stack

// ---- program memory. A fault inside [start, end) that cannot be served continues at the fixup.
  .macro extable start, end, fixup
  .section .extable, "a"
  .quad \start, \end, \fixup
  .section .text.entry, "ax", @progbits
  .endm

// usize copy_guarded(void* dst, const void* src, usize n): bytes not copied.
  .globl copy_guarded
  .type copy_guarded, @function
copy_guarded:
  movq %rdx, %rax
copy_guarded_start:
  cmpq $32, %rax
  jb 2f
1:
  movq (%rsi), %rcx
  movq 8(%rsi), %r8
  movq 16(%rsi), %r9
  movq 24(%rsi), %r10
  movq %rcx, (%rdi)
  movq %r8, 8(%rdi)
  movq %r9, 16(%rdi)
  movq %r10, 24(%rdi)
  addq $32, %rsi
  addq $32, %rdi
  subq $32, %rax
  cmpq $32, %rax
  jae 1b
2:
  testq %rax, %rax
  jz 4f
3:
  movb (%rsi), %cl
  movb %cl, (%rdi)
  incq %rsi
  incq %rdi
  decq %rax
  jnz 3b
copy_guarded_end:
4:
  ret
copy_guarded_fixup:
  // Within a block of 32 the exact byte is found by single bytes; a second fault ends it.
copy_guarded_slow:
  testq %rax, %rax
  jz 6f
5:
  movb (%rsi), %cl
  movb %cl, (%rdi)
  incq %rsi
  incq %rdi
  decq %rax
  jnz 5b
copy_guarded_slow_end:
6:
  ret
  .size copy_guarded, . - copy_guarded
  extable copy_guarded_start, copy_guarded_end, copy_guarded_fixup
  extable copy_guarded_slow, copy_guarded_slow_end, copy_guarded_slow_end

// int load_u32_guarded(u32* value, const u32* address): 0, or 1 for a fault.
  .globl load_u32_guarded
  .type load_u32_guarded, @function
load_u32_guarded:
load_u32_start:
  movl (%rsi), %eax
load_u32_end:
  movl %eax, (%rdi)
  xorl %eax, %eax
  ret
guarded_failed:
  movl $1, %eax
  ret
  .size load_u32_guarded, . - load_u32_guarded
  extable load_u32_start, load_u32_end, guarded_failed

// int cmpxchg_u32_guarded(u32* address, u32* expected, u32 desired): 0 exchanged, 2 differs (*expected updated), 1 fault.
  .globl cmpxchg_u32_guarded
  .type cmpxchg_u32_guarded, @function
cmpxchg_u32_guarded:
  movl (%rsi), %eax
cmpxchg_u32_start:
  lock cmpxchgl %edx, (%rdi)
cmpxchg_u32_end:
  jne 1f
  xorl %eax, %eax
  ret
1:
  movl %eax, (%rsi)
  movl $2, %eax
  ret
  .size cmpxchg_u32_guarded, . - cmpxchg_u32_guarded
  extable cmpxchg_u32_start, cmpxchg_u32_end, guarded_failed

// Interrupts and exceptions after their stubs: which stack the frame lives on, who handles it, and what happens on the
// way back.
//
// "In the kernel" is thread::depth, never the privilege level (all is ring 0). A fault belongs to the program when the
// depth is 0.

#include "kernel/arch/x86_64/traps.hh"

#include "kernel/arch/x86_64/descriptors.hh"
#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/arch/x86_64/smp.hh"
#include "kernel/arch/x86_64/smp_private.hh"
#include "kernel/lib/image.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/lib/symbols.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/kernel_map.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sched/hooks.hh"
#include "kernel/sched/scheduler.hh"
#include "kernel/sched/thread.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel {
namespace {

constexpr u32 vector_debug = 1, vector_nmi = 2, vector_page_fault = 14;
constexpr u64 fault_write = 2, fault_fetch = 16;
// What a fault's handling needs below the interrupted RSP at least.
constexpr u64 stack_reserve = 3072;

const char* const exception_names[32] = {"divide error",
                                         "debug",
                                         "NMI",
                                         "breakpoint",
                                         "overflow",
                                         "bound range",
                                         "invalid opcode",
                                         "device not available",
                                         "double fault",
                                         "coprocessor overrun",
                                         "invalid TSS",
                                         "segment not present",
                                         "stack fault",
                                         "general protection",
                                         "page fault",
                                         "reserved",
                                         "x87 error",
                                         "alignment check",
                                         "machine check",
                                         "SIMD error",
                                         "virtualization",
                                         "control protection"};

struct handler_entry {
  interrupt_handler handler = nullptr;
  void* argument = nullptr;
};
handler_entry handlers[256];
spinlock handlers_lock{rank::object};

struct extable_entry {
  u64 start, end, fixup;
};
extern "C" const extable_entry extable_start[], extable_end[];

u64 find_fixup(u64 rip) {
  for (const extable_entry* e = extable_start; e != extable_end; e++) {
    if (rip >= e->start && rip < e->end)
      return e->fixup;
  }
  return 0;
}

bool is_on_entry_stack(const per_cpu* c, u64 rsp) {
  return c->interrupt_stack.contains(rsp) || c->exception_stack.contains(rsp) || c->nmi_stack.contains(rsp) ||
         c->double_fault_stack.contains(rsp) || c->machine_check_stack.contains(rsp);
}

bool is_on_kernel_stack(const thread* t, u64 rsp) {
  return rsp <= t->kernel_stack_top + 8 && rsp > t->kernel_stack_top - kernel_stack_size;
}

trap_frame* copy_frame(const trap_frame* frame, u64 below) {
  // SAFETY: room on the thread's own kernel stack, which the caller has measured.
  auto* copy = reinterpret_cast<trap_frame*>((below - sizeof(trap_frame)) & ~u64{15});
  memcpy(copy, frame, sizeof *copy);
  return copy;
}

const char* name_of(u64 vector) {
  const char* name = vector < 32 ? exception_names[vector] : nullptr;
  return name ? name : "exception";
}

[[noreturn]] void kernel_fault(const trap_frame* frame, u64 address) {
  if (frame->vector != vector_page_fault)
    panic_at(frame, "{} in the kernel (error {:x})", name_of(frame->vector), frame->error);
  if (mm::is_stack_guard(address))
    panic_at(frame, "kernel stack overflow at {:x}", address);
  panic_at(frame, "page fault in the kernel: {} address {:x} (error {:x})",
           frame->error & fault_fetch ? "executing" : (frame->error & fault_write ? "writing" : "reading"), address,
           frame->error);
}

// A page fault. True: served, or continued at a fixup.
bool serve_page_fault(trap_frame* frame, u64 address, bool from_program, task::fault_info& info) {
  this_cpu_data()->statistics.page_faults++;
  thread* t = current();
  const u64 fixup = from_program ? 0 : find_fixup(frame->rip);
  const bool may_sleep = t->nofault.load(std::memory_order_relaxed) == 0 && this_cpu_data()->locks_held == 0 &&
                         (frame->rflags & rflags_if) && !t->is_idle;
  if (address >= mm::program_base && address < mm::program_end) {
    if (may_sleep) {
      enable_interrupts();
      auto r = mm::serve_fault(address, frame->error & fault_write, frame->error & fault_fetch);
      disable_interrupts();
      if (r == mm::fault_result::served)
        return true;
      info.is_mapped = r != mm::fault_result::no_area;
      info.no_memory = r == mm::fault_result::no_memory;
      info.past_end = r == mm::fault_result::past_end;
    }
  }
  // A call that would fill the program's memory when there is none: as when the program had touched it.
  if (fixup && info.no_memory && t->task && t->entry_frame) {
    enable_interrupts();
    task::on_program_fault(t->entry_frame, info);
  }
  if (fixup) {
    frame->rip = fixup;
    return true;
  }
  return false;
}

}  // namespace

extern "C" {

void return_work(trap_frame* frame) {
  thread* t = current();
  do {
    enable_interrupts();
    if (need_resched())
      sched::reschedule();
    if (t->work_pending.load(std::memory_order_acquire)) {
      t->entry_frame = frame;
      task::on_return_to_program(frame);
    }
    disable_interrupts();
  } while (need_resched() || t->work_pending.load(std::memory_order_acquire));
}

trap_frame* irq_entry(trap_frame* frame) {
  per_cpu* c = this_cpu_data();
  const u64 v = frame->vector;
  switch (v) {
    case vector_return_hook:
    case vector_spurious:
      break;
    case vector_timer:
      c->statistics.timer_interrupts++;
      local_apic_eoi();
      sched::on_timer_interrupt();
      break;
    case vector_reschedule:
      c->statistics.ipis++;
      local_apic_eoi();
      set_need_resched();
      c->reschedules.fetch_add(1);
      break;
    case vector_tlb:
      c->statistics.ipis++;
      local_apic_eoi();
      answer_tlb_request();
      break;
    default:
      c->statistics.interrupts++;
      if (handlers[v].handler)
        handlers[v].handler(handlers[v].argument);
      local_apic_eoi();
  }
  thread* t = c->current;
  if (t->depth.load(std::memory_order_relaxed) != 0)
    return nullptr;
  if (!need_resched() && !t->work_pending.load(std::memory_order_relaxed))
    return nullptr;
  // To the program, with work to do first: leave the interrupt stack.
  t->depth.store(1, std::memory_order_relaxed);
  return copy_frame(frame, t->kernel_stack_top);
}

void preempted(trap_frame* frame) {
  thread* t = current();
  return_work(frame);
  t->depth.store(0, std::memory_order_relaxed);
}

trap_frame* exception_entry(trap_frame* frame) {
  const u64 address = read_cr2();
  // The kernel's instruction is tried again. If it faulted for another reason too, it comes back; a program's access by
  // GS is its own fault.
  if (restore_gs_base() && is_kernel_text(frame->rip))
    return nullptr;
  per_cpu* c = this_cpu_data();
  thread* t = c->current;
  frame->full_return = address;  // the slot is free in an exception's frame
  if (is_on_entry_stack(c, frame->rsp))
    kernel_fault(frame, address);
  // The kernel's own stack: reported from here, the frames on it are wanted in the backtrace.
  if (!t ||
      (frame->vector == vector_page_fault && t->depth.load(std::memory_order_relaxed) && mm::is_stack_guard(address))) {
    kernel_fault(frame, address);
  }
  if (!is_on_kernel_stack(t, frame->rsp))
    return copy_frame(frame, t->kernel_stack_top);
  if (frame->rsp - stack_reserve < t->kernel_stack_top - kernel_stack_size) {
    panic_at(frame, "kernel stack overflow ({})", name_of(frame->vector));
  }
  return copy_frame(frame, frame->rsp);
}

void exception_body(trap_frame* frame) {
  thread* t = current();
  const u64 address = frame->full_return;
  frame->full_return = 0;
  const bool from_program = t->depth.load(std::memory_order_relaxed) == 0;
  task::fault_info info{static_cast<u32>(frame->vector), frame->error, 0, false, false, false};
  if (from_program) {
    t->depth.store(1, std::memory_order_relaxed);
    t->entry_frame = frame;
  }
  if (frame->vector == vector_page_fault) {
    info.address = address;
    if (serve_page_fault(frame, address, from_program, info)) {
      if (from_program)
        preempted(frame);
      return;
    }
  }
  if (!from_program) {
    if (frame->vector == vector_debug) {  // a single step that reached the kernel by a direct call
      frame->rflags &= ~rflags_tf;
      return;
    }
    if (u64 fixup = find_fixup(frame->rip)) {  // a non-canonical address
      frame->rip = fixup;
      return;
    }
    // A direct call runs on the program's stack, which call_scope has made present; only the program can have taken it
    // away since. A handler could not return into the middle of the call (it would run at depth 0), so there is none.
    const bool by_program = t->task && !is_on_kernel_stack(t, frame->rsp) && !this_cpu_data()->locks_held;
    if (!by_program)
      kernel_fault(frame, address);
    enable_interrupts();
    task::die_in_direct_call(frame, info);
  }
  enable_interrupts();
  task::on_program_fault(frame, info);
  disable_interrupts();
  preempted(frame);
}

void fatal_exception(trap_frame* frame) {
  (void)restore_gs_base();
  if (frame->vector == vector_nmi) {
    if (is_panicking()) {
      for (;;)
        // SAFETY: stops the processor: there is nothing to go back to.
        asm volatile("cli; hlt");
    }
    return;
  }
  panic_at(frame, "{} (error {:x})", name_of(frame->vector), frame->error);
}

}  // extern "C"

result<u8> allocate_vector(interrupt_handler handler, void* argument) {
  lock_guard g(handlers_lock);
  for (unsigned v = vector_first_device; v <= vector_last_device; v++) {
    if (!handlers[v].handler) {
      handlers[v].argument = argument;
      handlers[v].handler = handler;
      return static_cast<u8>(v);
    }
  }
  return errc::nospc;
}

void free_vector(u8 v) {
  lock_guard g(handlers_lock);
  handlers[v] = {};
}

}  // namespace solaster::kernel

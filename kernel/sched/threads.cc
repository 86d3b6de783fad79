// Making and ending threads.

#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/arch/x86_64/traps.hh"
#include "kernel/arch/x86_64/xstate.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/kernel_map.hh"
#include "kernel/sched/hooks.hh"
#include "kernel/sched/run_queue.hh"
#include "kernel/sched/scheduler.hh"
#include "kernel/sched/thread.hh"

// SAFETY (file): stacks and save areas are memory of our own, taken apart into frames and words of known layout.

namespace solaster::kernel::sched {

[[noreturn]] void exit_current_switch();

namespace {

spinlock all_lock{rank::thread_list};
thread* all_first = nullptr;

constexpr usize xstate_alignment = 64;
// kernel stack tops are 8 below a multiple of 16: the frame of a system call then ends 16-aligned (entry.S).
constexpr u64 top_shift = 8;

void* allocate_xstate() {
  // The pointer before the aligned area is what kmalloc gave.
  auto* raw = static_cast<char*>(kmalloc(xstate_size() + xstate_alignment + sizeof(void*)));
  if (!raw)
    return nullptr;
  auto* area = reinterpret_cast<char*>(align_up(reinterpret_cast<u64>(raw + sizeof(void*)), xstate_alignment));
  reinterpret_cast<void**>(area)[-1] = raw;
  xstate_initialise_area(area);
  return area;
}
void free_xstate(void* area) {
  if (area)
    kfree(static_cast<void**>(area)[-1]);
}

thread* allocate_thread(const char* name) {
  auto* t = new (std::nothrow) thread;
  if (!t)
    return nullptr;
  u64 top = mm::allocate_thread_stack();
  if (!top) {
    delete t;
    return nullptr;
  }
  t->kernel_stack_top = top - top_shift;
  for (usize i = 0; name && name[i] && i + 1 < sizeof t->name; i++)
    t->name[i] = name[i];
  t->depth = 1;
  t->cpu = this_cpu_number();
  lock_guard g(all_lock);
  t->all_next = all_first;
  if (all_first)
    all_first->all_previous = t;
  all_first = t;
  return t;
}

// The stack as switch_stacks leaves it: six registers and the address to go on at.
void prepare_stack(thread* t, u64 below) {
  u64* sp = reinterpret_cast<u64*>(below & ~u64{15});
  *--sp = reinterpret_cast<u64>(&thread_start);
  for (int i = 0; i < 6; i++)
    *--sp = 0;
  t->saved_rsp = reinterpret_cast<u64>(sp);
}

}  // namespace

result<thread*> create_kernel_thread(const char* name, void (*entry)(void*), void* argument) {
  thread* t = allocate_thread(name);
  if (!t)
    return errc::nomem;
  t->entry = entry;
  t->argument = argument;
  prepare_stack(t, t->kernel_stack_top);
  return t;
}

result<thread*> create_program_thread(const char* name, const trap_frame& start, u64 fs_base, thread* copy_from) {
  void* area = allocate_xstate();
  if (!area)
    return errc::nomem;
  thread* t = allocate_thread(name);
  if (!t) {
    free_xstate(area);
    return errc::nomem;
  }
  t->xstate = area;
  t->fs_base = fs_base;
  if (copy_from) {
    // In a system call the registers still hold the caller's state.
    KCHECK(copy_from == current());
    xstate_save(area);
    t->affinity.store(copy_from->affinity.load());
    t->slice_ns.store(copy_from->slice_ns.load());
  }
  auto* frame = reinterpret_cast<trap_frame*>(t->kernel_stack_top - sizeof(trap_frame));
  *frame = start;
  frame->cs = 8;
  frame->ss = 0x10;
  prepare_stack(t, reinterpret_cast<u64>(frame));
  return t;
}

void start(thread* t) {
  make_ready(t);
}

void destroy(thread* t) {
  {
    lock_guard g(all_lock);
    if (t->all_previous) {
      t->all_previous->all_next = t->all_next;
    } else {
      all_first = t->all_next;
    }
    if (t->all_next)
      t->all_next->all_previous = t->all_previous;
  }
  // Another CPU may hold "the registers are this thread's" for an address that a new thread gets: forget it everywhere.
  for (unsigned i = 0; i < cpu_count(); i++) {
    thread* expected = t;
    __atomic_compare_exchange_n(&cpu_data(i).xstate_owner, &expected, nullptr, false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
  }
  free_xstate(t->xstate);
  mm::free_thread_stack(t->kernel_stack_top + top_shift);
  delete t;
}

void exit_current() {
  enable_interrupts();
  thread* t = current();
  if (t->task)
    task::on_thread_exit(t);
  exit_current_switch();
}

void enter_program(const trap_frame& start) {
  thread* t = current();
  if (!t->xstate) {
    t->xstate = allocate_xstate();
    if (!t->xstate)
      panic("out of memory for the first program thread");
  }
  trap_frame frame = start;
  frame.cs = 8;
  frame.ss = 0x10;
  set_fs_base(t->fs_base);
  disable_interrupts();
  xstate_reset();
  this_cpu_data()->xstate_owner = t;
  return_work(&frame);
  return_to_frame(&frame);
}

void for_each_thread(void (*visit)(thread*, void*), void* context) {
  lock_guard g(all_lock);
  for (thread* t = all_first; t; t = t->all_next)
    visit(t, context);
}

}  // namespace solaster::kernel::sched

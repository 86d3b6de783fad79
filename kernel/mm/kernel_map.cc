#include "kernel/mm/kernel_map.hh"

#include "kernel/lib/panic.hh"
#include "kernel/mm/paging.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel::mm {
namespace {

// Thread stacks come first, in slots of a guard page and a stack; everything else is given out upwards behind them.
constexpr u64 slot_size = kernel_stack_size + page_size;
constexpr u64 slots_max = 16384;
constexpr u64 slots_end = kernel_map_base + slots_max * slot_size;

spinlock lock{rank::kernel_map};
u64 next_slot = 0;
u64 next_free = slots_end;
u64* free_stack = nullptr;  // top of a pooled stack; its first word links to the next

u64 reserve(u64 length) {
  u64 v = next_free;
  next_free += align_up(length, page_size);
  return v;
}

bool map_stack_pages(u64 bottom, u64 size) {
  for (u64 v = bottom; v < bottom + size; v += page_size) {
    u64* e = paging::find_entry(v, true);
    phys_addr p = e && !(*e & paging::present) ? allocate_frames(0) : 0;
    if (e && (*e & paging::present))
      continue;  // left from an attempt that ran out of memory
    if (!p)
      return false;
    *e = p | paging::present | paging::writable | paging::no_execute | paging::global;
  }
  return true;
}

}  // namespace

// SAFETY: volatile, since what lies there are registers.
volatile void* map_device(phys_addr base, u64 length) {
  const u64 offset = base & (page_size - 1);
  lock_guard g(lock);
  u64 v = reserve(length + offset);
  bool ok = paging::map_range(
      v, base - offset, align_up(length + offset, page_size),
      paging::writable | paging::no_execute | paging::global | paging::cache_disable | paging::write_through, false);
  // SAFETY: an address that was just mapped for this; volatile since what lies there are registers.
  return ok ? reinterpret_cast<volatile void*>(v + offset) : nullptr;
}

u64 allocate_kernel_stack_of(usize size) {
  lock_guard g(lock);
  u64 v = reserve(size + page_size);
  if (!map_stack_pages(v + page_size, size))
    panic("out of memory for the stacks of a CPU");
  return v + page_size + size;
}

u64 allocate_thread_stack() {
  lock_guard g(lock);
  if (free_stack) {
    u64* word = free_stack;
    // SAFETY: free_thread_stack left the next one's address in the stack's highest word.
    free_stack = reinterpret_cast<u64*>(*word);
    return reinterpret_cast<u64>(word + 1);
  }
  if (next_slot == slots_max)
    return 0;
  u64 bottom = kernel_map_base + next_slot * slot_size + page_size;
  if (!map_stack_pages(bottom, kernel_stack_size))
    return 0;
  next_slot++;
  return bottom + kernel_stack_size;
}

void free_thread_stack(u64 top) {
  lock_guard g(lock);
  // SAFETY: a stack that nobody uses any more, whose highest word becomes the link of the pool.
  auto* word = reinterpret_cast<u64*>(top) - 1;
  *word = reinterpret_cast<u64>(free_stack);
  free_stack = word;
}

bool is_stack_guard(u64 address) {
  if (address < kernel_map_base || address >= next_free)
    return false;
  if (address < slots_end)
    return (address - kernel_map_base) % slot_size < page_size;
  u64* e = paging::find_entry(address, false);
  return !e || !(*e & paging::present);
}

}  // namespace solaster::kernel::mm

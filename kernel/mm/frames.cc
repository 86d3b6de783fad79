// Buddies: a free block's list node lies in the block itself, and one byte a frame tells the state of the block that
// starts there, so nothing of a large guest's memory is touched before it is used but that byte array.

#include "kernel/mm/frames.hh"

#include "kernel/lib/image.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/lib/walk_pace.hh"
#include "kernel/mm/frames_private.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel::mm {
namespace {

struct free_block {
  free_block* next;
  free_block* previous;
};

// State byte of the frame that starts a block: order, and what it is. 0: inside a block, or not RAM.
constexpr u8 state_free = 0x80, state_used = 0x40, state_order = 0x1f;

spinlock lock{rank::frames};
free_block* lists[order_max + 1];
u64 list_bits = 0;  // which orders have blocks
u8* states = nullptr;
u64 frame_count = 0;
u64 free_frames_now = 0, total_frames = 0;

u64 frame_of(const void* block) {
  // SAFETY: arithmetic on an address of the physical map.
  return (reinterpret_cast<u64>(block) - physical_map_base) / page_size;
}
free_block* block_at(u64 frame) {
  return phys_to_virt<free_block>(frame * page_size);
}

// Debug builds look at every free block, at a pace that keeps it linear. The lock is held.
walk_pace pace;
u64 blocks_walked = 0;

bool is_free_block(u64 frame, unsigned order) {
  if (frame == 0 || frame + (1ull << order) > frame_count || frame & ((1ull << order) - 1))
    return false;
  const u64 buddy = frame ^ (1ull << order);
  const bool is_joined =
      order == order_max || buddy + (1ull << order) > frame_count || states[buddy] != (state_free | order);
  return states[frame] == (state_free | order) && is_joined;
}

// Each list holds free blocks of its order, linked both ways, none beside a free buddy; together they are what is free.
bool is_valid() {
  u64 sum = 0;
  blocks_walked = 0;
  for (unsigned order = 0; order <= order_max; order++) {
    if (bool(lists[order]) != bool(list_bits >> order & 1))
      return false;
    const free_block* before = nullptr;
    for (const free_block* b = lists[order]; b; before = b, b = b->next) {
      if (b->previous != before || !is_free_block(frame_of(b), order))
        return false;
      sum += 1ull << order;
      blocks_walked++;
    }
  }
  return sum == free_frames_now;
}

void check() {
  if (pace.is_due(blocks_walked))
    KCHECK(is_valid());
}

void push(u64 frame, unsigned order) {
  free_block* b = block_at(frame);
  b->previous = nullptr;
  b->next = lists[order];
  if (b->next)
    b->next->previous = b;
  lists[order] = b;
  list_bits |= 1ull << order;
  states[frame] = state_free | static_cast<u8>(order);
}

void take_out(u64 frame, unsigned order) {
  free_block* b = block_at(frame);
  if (b->previous) {
    b->previous->next = b->next;
  } else {
    lists[order] = b->next;
    if (!b->next)
      list_bits &= ~(1ull << order);
  }
  if (b->next)
    b->next->previous = b->previous;
  states[frame] = 0;
}

void release(u64 frame, unsigned order) {
  free_frames_now += 1ull << order;
  while (order < order_max) {
    u64 buddy = frame ^ (1ull << order);
    if (buddy + (1ull << order) > frame_count || states[buddy] != (state_free | order))
      break;
    take_out(buddy, order);
    if (buddy < frame)
      frame = buddy;
    order++;
  }
  push(frame, order);
}

}  // namespace

phys_addr virt_to_phys_linear(const void* p) {
  // SAFETY: arithmetic on an address of one of the two linear maps.
  u64 a = reinterpret_cast<u64>(p);
  return a >= kernel_base ? a - kernel_base : a - physical_map_base;
}

void frames_initialise(u8* state_bytes, u64 frames) {
  states = state_bytes;
  frame_count = frames;
  memset(states, 0, frames);
}

void frames_add(phys_addr start, phys_addr end) {
  u64 first = align_up(start, page_size) / page_size, last = align_down(end, page_size) / page_size;
  if (first == 0)
    first = 1;
  if (last > frame_count)
    last = frame_count;
  lock_guard g(lock);
  while (first < last) {
    unsigned order = first ? static_cast<unsigned>(__builtin_ctzll(first)) : order_max;
    if (order > order_max)
      order = order_max;
    while ((1ull << order) > last - first)
      order--;
    total_frames += 1ull << order;
    release(first, order);
    first += 1ull << order;
  }
}

phys_addr allocate_frames(unsigned order) {
  if (order > order_max)
    return 0;
  lock_guard g(lock);
  u64 candidates = list_bits >> order << order;
  if (!candidates)
    return 0;
  unsigned have = static_cast<unsigned>(__builtin_ctzll(candidates));
  u64 frame = frame_of(lists[have]);
  take_out(frame, have);
  while (have > order) {  // give the upper halves back
    have--;
    push(frame + (1ull << have), have);
  }
  states[frame] = state_used | static_cast<u8>(order);
  free_frames_now -= 1ull << order;
  check();
  return frame * page_size;
}

phys_addr allocate_zeroed_frame() {
  phys_addr p = allocate_frames(0);
  if (p)
    memset(phys_to_virt(p), 0, page_size);
  return p;
}

void free_frames(phys_addr p, unsigned order) {
  u64 frame = p / page_size;
  lock_guard g(lock);
  KCHECK(frame < frame_count && states[frame] == (state_used | order));
  release(frame, order);
  check();
}

void split_into_huge(phys_addr p, unsigned order) {
  constexpr unsigned huge_order = 9;
  u64 frame = p / page_size;
  lock_guard g(lock);
  KCHECK(frame < frame_count && states[frame] == (state_used | order) && order >= huge_order);
  for (u64 i = 0; i < (1ull << order); i += 1ull << huge_order)
    states[frame + i] = state_used | huge_order;
}

u64 free_huge_bytes() {
  constexpr unsigned huge_order = 9;
  lock_guard g(lock);
  u64 bytes = 0;
  for (unsigned order = huge_order; order <= order_max; order++) {
    for (free_block* b = lists[order]; b; b = b->next)
      bytes += page_size << order;
  }
  return bytes;
}

unsigned used_order(phys_addr p) {
  u8 s = states[p / page_size];
  KCHECK((s & (state_used | state_free)) == state_used);
  return s & state_order;
}

u64 free_bytes() {
  return free_frames_now * page_size;
}
u64 total_bytes() {
  return total_frames * page_size;
}

}  // namespace solaster::kernel::mm

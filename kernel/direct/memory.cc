// Memory for shards: blocks of frames, large ones first, mapped as one range by 2 MiB pages, resident from the start.

#include "kernel/direct/call.hh"
#include "kernel/direct/functions.hh"
#include "kernel/mm/frames.hh"
#include "kernel/mm/shard_memory.hh"
#include "kernel/mm/user_access.hh"

// SAFETY (file): addresses that were just mapped, as the program will use them.

namespace solaster::kernel::direct {
int shard_memory(u64 bytes, void** base, solaster_memory_piece* pieces, u32* count) {
  return on_kernel_stack([=]() -> int {
    u32 capacity = 0;
    if (!mm::get(capacity, count))
      return efault;
    if (bytes == 0 || capacity == 0)
      return einval;
    if (capacity > SOLASTER_MEMORY_PIECES_MAX)
      capacity = SOLASTER_MEMORY_PIECES_MAX;
    mm::memory_block blocks[SOLASTER_MEMORY_PIECES_MAX];
    result<mm::mapped_blocks> r = mm::map_shard_memory(bytes, blocks, capacity);
    if (!r)
      return negative(r.error());
    uptr at = r->base;
    for (u32 i = 0; i < r->count; i++) {
      // Devices see physical addresses.
      const solaster_memory_piece piece{reinterpret_cast<void*>(at), blocks[i].length, blocks[i].physical - at};
      if (!mm::put(&pieces[i], piece))
        return efault;
      at += blocks[i].length;
    }
    void* start = reinterpret_cast<void*>(r->base);
    return mm::put(base, start) && mm::put(count, r->count) ? 0 : efault;
  });
}

u64 memory_available() {
  call_scope scope;
  return mm::shard_memory_available();
}

}  // namespace solaster::kernel::direct

#include "kernel/mm/shard_memory.hh"

#include "kernel/lib/panic.hh"
#include "kernel/mm/areas.hh"
#include "kernel/mm/frames_private.hh"
#include "kernel/mm/paging.hh"
#include "kernel/mm/user_access.hh"

namespace solaster::kernel::mm {
namespace {

constexpr unsigned huge_order = 9;
// Left to the program's other memory and the kernel: a sixteenth, at least 4 MiB.
u64 reserve_bytes() {
  const u64 part = total_bytes() / 16;
  return part > (4u << 20) ? part : 4u << 20;
}
constexpr uptr shard_memory_top = 0x6000'0000'0000;

void give_back(memory_block* blocks, u32 count) {
  for (u32 i = 0; i < count; i++) {
    // Merged neighbours are freed in the 2 MiB pieces they are made of at least.
    for (u64 at = 0; at < blocks[i].length; at += huge_page_size)
      free_frames(blocks[i].physical + at, huge_order);
  }
}

// The largest blocks that fit, joined where they touch; sorted by address within the list's order.
result<u32> collect(u64 bytes, memory_block* blocks, u32 capacity) {
  u32 count = 0;
  for (u64 left = bytes; left;) {
    unsigned order = order_max;
    while ((page_size << order) > left)
      order--;
    phys_addr p = 0;
    for (; order >= huge_order; order--) {
      p = allocate_frames(order);
      if (p)
        break;
    }
    if (!p) {
      give_back(blocks, count);
      return errc::nomem;
    }
    const u64 length = page_size << order;
    split_into_huge(p, order);
    left -= length;
    if (count && blocks[count - 1].physical + blocks[count - 1].length == p) {
      blocks[count - 1].length += length;
    } else if (count && p + length == blocks[count - 1].physical) {
      blocks[count - 1] = {p, blocks[count - 1].length + length};
    } else if (count == capacity) {
      give_back(blocks, count);
      memory_block last{p, length};
      give_back(&last, 1);
      return errc::too_big;
    } else {
      blocks[count++] = {p, length};
    }
  }
  return count;
}

}  // namespace

result<mapped_blocks> map_shard_memory(u64 bytes, memory_block* blocks, u32 capacity) {
  if (bytes > total_bytes())
    return errc::nomem;
  bytes = align_up(bytes, huge_page_size);
  if (bytes + reserve_bytes() / 2 > free_bytes())
    return errc::nomem;
  mutex_guard g(space().lock);
  result<u32> count = collect(bytes, blocks, capacity);
  if (!count)
    return count.error();
  const uptr base = find_gap(bytes, huge_page_size, shard_memory_top);
  area a;
  a.start = base, a.end = base + bytes, a.prot = prot_read | prot_write, a.kind = backing::contiguous;
  a.name = "[shard]";
  if (!base || !insert_area(a)) {
    give_back(blocks, *count);
    return errc::nomem;
  }
  uptr at = base;
  for (u32 i = 0; i < *count; i++) {
    const u64 flags = paging::writable | paging::no_execute;
    // Table pages come from the reserve: two 4 KiB pages a gigabyte.
    if (!paging::map_range(at, blocks[i].physical, blocks[i].length, flags, true))
      return errc::nomem;
    at += blocks[i].length;
  }
  space().resident.fetch_add(bytes, std::memory_order_relaxed);
  return mapped_blocks{base, *count};
}

u64 shard_memory_available() {
  const u64 free = free_huge_bytes();
  const u64 reserve = reserve_bytes();
  const u64 all = free_bytes();
  const u64 usable = all > reserve ? all - reserve : 0;
  return align_down(usable < free ? usable : free, huge_page_size);
}

}  // namespace solaster::kernel::mm

// Page-table work of the program's half. The space's mutex is held.

#include "kernel/arch/x86_64/smp.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/areas.hh"
#include "kernel/mm/frames.hh"
#include "kernel/mm/frames_private.hh"
#include "kernel/mm/paging.hh"

namespace solaster::kernel::mm {
namespace {

using namespace paging;

// Frames that program memory never takes: page tables and the kernel's own needs go on when the program has eaten the
// rest.
constexpr u64 kernel_reserve_bytes = 256 * 1024;

u64 next_boundary(u64 v, u64 size, u64 end) {
  u64 next = align_down(v, size) + size;
  return next < end ? next : end;
}

// Calls visit(v, region_end, entry) for each existing 2 MiB entry that [start, end) meets.
template <typename Visit>
void for_each_large(uptr start, uptr end, Visit visit) {
  u64* top = phys_to_virt<u64>(root());
  for (u64 v = start; v < end;) {
    u64 e4 = top[v >> 39 & 511];
    if (!(e4 & present)) {
      v = next_boundary(v, u64{1} << 39, end);
      continue;
    }
    u64 e3 = phys_to_virt<u64>(e4 & address_mask)[v >> 30 & 511];
    if (!(e3 & present) || (e3 & huge)) {
      v = next_boundary(v, u64{1} << 30, end);
      continue;
    }
    u64* e2 = &phys_to_virt<u64>(e3 & address_mask)[v >> 21 & 511];
    u64 stop = next_boundary(v, huge_page_size, end);
    if (*e2)
      visit(v, stop, e2);
    v = stop;
  }
}

// The same for 4 KiB entries that hold something (present, or parked with a frame).
template <typename Visit>
void for_each_page(uptr start, uptr end, Visit visit) {
  for_each_large(start, end, [&](u64 v, u64 stop, u64* e2) {
    if (*e2 & huge)
      return;
    u64* table = phys_to_virt<u64>(*e2 & address_mask);
    for (; v < stop; v += page_size) {
      u64* e = &table[v >> 12 & 511];
      if (*e)
        visit(v, e);
    }
  });
}

// Code that nobody may write through its own address is not to be written through the physical map either.
bool is_sealed_by(u64 flags) {
  return (flags & owned) && (flags & present) && !(flags & (writable | no_execute));
}

// Addresses of the physical map whose rights changed and that other CPUs may still know otherwise.
class alias_range {
 public:
  void add(u64 v) {
    _start = v < _start ? v : _start;
    _end = v + page_size > _end ? v + page_size : _end;
  }
  void flush() {
    if (_start < _end)
      flush_tlb_everywhere(_start, _end);
  }

 private:
  u64 _start = ~u64{0}, _end = 0;
};

// Gives or takes the right to write a frame through the physical map, and says so in its entry. The caller flushes.
// False: no memory; taking it back needs none.
bool seal(u64& e, bool on, alias_range& changed) {
  const u64 v = physical_map_base + (e & address_mask);
  if (!set_writable(v, page_size, !on))
    return false;
  e = on ? e | sealed : e & ~sealed;
  changed.add(v);
  return true;
}

// Before pages are dropped: their frames become ordinary memory. Only areas of code have any.
void unseal(uptr start, uptr end) {
  alias_range changed;
  for (area* a = first_area_after(start); a && a->start < end; a = first_area_after(a->end)) {
    if (!(a->prot & prot_exec))
      continue;
    for_each_page(a->start > start ? a->start : start, a->end < end ? a->end : end, [&](u64, u64* e) {
      if (*e & sealed)
        KCHECK(seal(*e, false, changed));
    });
  }
  changed.flush();
}

void release_page(u64 entry) {
  if (!(entry & owned))
    return;
  KDCHECK(!(entry & sealed));
  free_frames(entry & address_mask, 0);
  space().resident.fetch_sub(page_size, std::memory_order_relaxed);
}

}  // namespace

u64 entry_flags(const area& a) {
  u64 flags = 0;
  if (a.prot & (prot_read | prot_write | prot_exec))
    flags |= present;
  if (a.prot & prot_write)
    flags |= writable;
  if (!(a.prot & prot_exec))
    flags |= no_execute;
  if (a.uncached)
    flags |= cache_disable | write_through;
  if (!(flags & present))
    flags |= parked;
  return flags;
}

void drop_pages(uptr start, uptr end) {
  unseal(start, end);
  // First the rights go (whole tables at once), then every CPU forgets, then the frames are free.
  bool any = false;
  for_each_large(start, end, [&](u64 v, u64 stop, u64* e2) {
    KCHECK(!(*e2 & huge));
    if (stop - v == huge_page_size) {
      *e2 = (*e2 & ~present) | parked;
      any = true;
      return;
    }
    u64* table = phys_to_virt<u64>(*e2 & address_mask);
    for (; v < stop; v += page_size) {
      u64& e = table[v >> 12 & 511];
      if (e & present) {
        e = (e & ~present) | parked;
        any = true;
      }
    }
  });
  if (any)
    flush_tlb_everywhere(start, end);
  for_each_large(start, end, [&](u64 v, u64 stop, u64* e2) {
    u64* table = phys_to_virt<u64>(*e2 & address_mask);
    const bool whole = stop - v == huge_page_size;
    for (; v < stop; v += page_size) {
      u64& e = table[v >> 12 & 511];
      if (e)
        release_page(e);
      e = 0;
    }
    if (whole) {
      free_frames(*e2 & address_mask, 0);
      *e2 = 0;
    }
  });
}

void change_pages(const area& a, uptr start, uptr end) {
  const u64 rights = present | writable | no_execute | parked;
  const u64 wanted = entry_flags(a);
  bool flush = false;
  alias_range aliases;
  for_each_page(start, end, [&](u64, u64* e) {
    const u64 before = *e;
    u64 after = (before & ~rights) | (wanted & rights);
    if (bool(before & sealed) != is_sealed_by(after))
      (void)seal(after, !(before & sealed), aliases);  // no memory for a table: the second lock is missing, no more
    *e = after;
    // Only a right taken away must be forgotten at once; a stale lack of one ends in a fault that finds the page there.
    if ((before & present) && ((before & ~*e & (present | writable)) || (*e & ~before & no_execute)))
      flush = true;
  });
  if (flush)
    flush_tlb_everywhere(start, end);
  aliases.flush();
}

bool prepare_move(uptr from, uptr to, u64 length) {
  bool ok = true;
  for_each_page(from, from + length, [&](u64 v, u64*) { ok = ok && find_entry(to + (v - from), true); });
  return ok;
}

void move_pages(uptr from, uptr to, u64 length) {
  bool any = false;
  for_each_page(from, from + length, [&](u64 v, u64* e) {
    u64* target = find_entry(to + (v - from), false);
    KCHECK(target && !*target);  // prepared, and nothing is mapped there
    *target = *e;
    any = any || (*e & present);
    *e = 0;
  });
  if (any)
    flush_tlb_everywhere(from, from + length);
}

// A frame for a private page with its content.
fault_result make_private_page(const area& a, uptr page, phys_addr& p) {
  if (free_bytes() < kernel_reserve_bytes || !(p = allocate_frames(0)))
    return fault_result::no_memory;
  auto* content = phys_to_virt<std::byte>(p);
  const u64 offset = page - a.start;
  if (a.kind == backing::file) {
    if (a.source->copy_page((a.file_offset + offset) / page_size, content))
      return fault_result::served;
    free_frames(p, 0);
    return fault_result::past_end;
  }
  usize have = 0;
  if (a.kind == backing::bytes && offset < a.bytes_length) {
    have = a.bytes_length - offset < page_size ? a.bytes_length - offset : page_size;
    memcpy(content, a.bytes + offset, have);
  }
  memset(content + have, 0, page_size - have);
  return fault_result::served;
}

fault_result fill_page(area& a, uptr page) {
  u64* large = nullptr;
  u64* e = find_entry(page, true, &large);
  if (large)
    return fault_result::served;
  if (!e)
    return fault_result::no_memory;
  const u64 flags = entry_flags(a);
  if (*e) {  // there already: another CPU was faster, or this CPU's TLB is behind
    const u64 rights = present | writable | no_execute | parked;
    *e = (*e & ~rights) | (flags & rights);
    flush_local(page, page + page_size);
    return fault_result::served;
  }
  if (a.kind == backing::physical) {
    *e = (a.physical + (page - a.start)) | flags;
    return fault_result::served;
  }
  if (a.kind == backing::file && a.shared) {
    auto p = a.source->shared_page((a.file_offset + (page - a.start)) / page_size);
    if (!p)
      return p.error() == errc::nomem ? fault_result::no_memory : fault_result::past_end;
    *e = *p | flags;
    return fault_result::served;
  }
  phys_addr p = 0;
  if (auto made = make_private_page(a, page, p); made != fault_result::served)
    return made;
  u64 filled = p | flags | owned;
  if (is_sealed_by(filled)) {
    alias_range changed;
    if (!seal(filled, true, changed)) {
      free_frames(p, 0);
      return fault_result::no_memory;
    }
    changed.flush();
  }
  *e = filled;
  space().resident.fetch_add(page_size, std::memory_order_relaxed);
  return fault_result::served;
}

void mark_resident(uptr start, uptr end, u8* each) {
  for_each_large(start, end, [&](u64 v, u64 stop, u64* e2) {
    for (u64 p = v; p < stop; p += page_size)
      if ((*e2 & huge) || (phys_to_virt<u64>(*e2 & address_mask)[p >> 12 & 511] & address_mask))
        each[(p - start) / page_size] = 1;
  });
}

}  // namespace solaster::kernel::mm

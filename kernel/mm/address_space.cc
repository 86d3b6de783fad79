#include "kernel/mm/address_space.hh"

#include "kernel/lib/entropy.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/areas.hh"
#include "kernel/mm/frames.hh"
#include "kernel/mm/user_access.hh"

namespace solaster::kernel::mm {
namespace {

constexpr uptr map_top_highest = 0x7fff'0000'0000;
constexpr uptr low_limit = 0x8000'0000;  // MAP_32BIT
constexpr uptr program_place = 0x5500'0000'0000;

bool is_randomised = true;

uptr map_top() {
  // Below the stack's neighbourhood, 28 random bits of pages.
  if (!space().map_top)
    space().map_top = map_top_highest - random_pages(28);
  return space().map_top;
}

bool check_range(uptr address, u64& length) {
  if (address & (page_size - 1))
    return false;
  if (length > program_end)
    return false;
  length = align_up(length, page_size);
  return is_program_range(address, length);
}

// Where the request goes. For fixed requests what is there has been dealt with.
result<uptr> choose_place(const map_request& r, u64 length) {
  if (r.fixed) {
    if (r.address & (page_size - 1))
      return errc::inval;
    if (r.address < program_base)
      return errc::perm;
    if (!is_program_range(r.address, length))
      return errc::nomem;
    if (r.no_replace) {
      if (!is_free(r.address, r.address + length))
        return errc::exist;
    } else if (status s = remove_areas(r.address, r.address + length); !s) {
      return s.error();
    }
    return r.address;
  }
  const uptr hint = align_down(r.address, page_size);
  if (hint >= program_base && is_program_range(hint, length) && is_free(hint, hint + length) && !r.below_4g)
    return hint;
  uptr at = find_gap(length, page_size, r.below_4g ? low_limit : map_top());
  if (!at)
    return errc::nomem;
  return at;
}

status populate_locked(uptr start, uptr end) {
  for (uptr v = start; v < end;) {
    area* a = first_area_after(v);
    if (!a || a->start > v)
      return errc::nomem;
    const uptr stop = a->end < end ? a->end : end;
    if (!a->prot) {
      v = stop;
      continue;
    }
    for (; v < stop; v += page_size) {
      if (fill_page(*a, v) == fault_result::no_memory)
        return errc::nomem;
    }
  }
  return {};
}

}  // namespace

result<uptr> map(const map_request& r) {
  if (r.length == 0)
    return errc::inval;
  if (r.length > program_end)
    return errc::nomem;
  const u64 length = align_up(r.length, page_size);
  // Overcommit is fine, the hopeless is not (Linux's heuristic mode).
  if (r.kind == backing::anonymous && (r.prot & prot_write) && !r.no_reserve && length > total_bytes())
    return errc::nomem;
  mutex_guard g(space().lock);
  result<uptr> place = choose_place(r, length);
  if (!place)
    return place;
  area a;
  a.start = *place, a.end = *place + length, a.prot = r.prot, a.kind = r.kind, a.uncached = r.uncached;
  a.bytes = r.bytes, a.bytes_length = r.bytes_length, a.physical = r.physical;
  a.file_offset = r.file_offset, a.name = r.name;
  if (status s = insert_area(a); !s)
    return s.error();
  if (r.populate && r.prot) {
    if (status s = populate_locked(*place, *place + length); !s) {
      (void)remove_areas(*place, *place + length);
      return s.error();
    }
  }
  return place;
}

status unmap(uptr address, u64 length) {
  if (length == 0 || !check_range(address, length))
    return errc::inval;
  mutex_guard g(space().lock);
  return remove_areas(address, address + length);
}

status protect(uptr address, u64 length, u32 prot) {
  if (address & (page_size - 1))
    return errc::inval;
  if (length == 0)
    return {};
  if (!check_range(address, length))
    return errc::nomem;
  const uptr end = address + length;
  mutex_guard g(space().lock);
  for (uptr v = address; v < end;) {  // no holes, nothing that cannot change
    area* a = first_area_after(v);
    if (!a || a->start > v)
      return errc::nomem;
    if (a->kind == backing::contiguous && a->prot != prot)
      return errc::acces;
    v = a->end;
  }
  if (status s = split_at(address); !s)
    return s;
  if (status s = split_at(end); !s)
    return s;
  for (area* a = first_area_after(address); a && a->start < end; a = first_area_after(a->end)) {
    if (a->prot == prot)
      continue;
    a->prot = prot;
    change_pages(*a, a->start, a->end);
  }
  for (uptr v = address; v < end;) {
    area* a = first_area_after(v);
    v = a->end;
    try_join(a);
  }
  return {};
}

status discard(uptr address, u64 length) {
  if (!check_range(address, length))
    return errc::inval;
  const uptr end = address + length;
  mutex_guard g(space().lock);
  uptr v = address;
  bool hole = false;
  while (v < end) {
    area* a = first_area_after(v);
    if (!a || a->start >= end) {
      hole = true;
      break;
    }
    if (a->start > v) {
      hole = true;
      v = a->start;
    }
    const uptr stop = a->end < end ? a->end : end;
    if (a->kind == backing::anonymous || a->kind == backing::bytes)
      drop_pages(v, stop);
    v = stop;
  }
  if (hole)
    return errc::nomem;
  return {};
}

result<uptr> remap(uptr address, u64 old_length, u64 new_length, bool may_move, uptr fixed_address) {
  if (new_length == 0 || !check_range(address, old_length) || new_length > program_end)
    return errc::inval;
  new_length = align_up(new_length, page_size);
  mutex_guard g(space().lock);
  area* a = first_area_after(address);
  if (!a || a->start > address || address + old_length > a->end)
    return errc::fault;
  if (a->kind != backing::anonymous && a->kind != backing::bytes)
    return errc::inval;
  if (old_length == 0)
    return errc::inval;  // sharing a mapping by mremap is not here
  if (!fixed_address) {
    if (new_length <= old_length) {
      if (new_length < old_length) {
        if (status s = remove_areas(address + new_length, address + old_length); !s)
          return s.error();
      }
      return address;
    }
    const uptr end = address + old_length;
    if (a->end == end && is_program_range(address, new_length) && is_free(end, address + new_length)) {
      space().mapped += new_length - old_length;
      a->end = address + new_length;
      try_join(a);
      return address;
    }
    if (!may_move)
      return errc::nomem;
  }
  uptr to = fixed_address;
  if (fixed_address) {
    if ((to & (page_size - 1)) || !is_program_range(to, new_length) || to < program_base)
      return errc::inval;
    if (to < address + old_length && address < to + new_length)
      return errc::inval;
    if (status s = remove_areas(to, to + new_length); !s)
      return s.error();
  } else {
    to = find_gap(new_length, page_size, map_top());
    if (!to)
      return errc::nomem;
  }
  if (status s = split_at(address); !s)
    return s.error();
  if (status s = split_at(address + old_length); !s)
    return s.error();
  area model = *first_area_after(address);
  model.start = to, model.end = to + new_length;
  if (status s = insert_area(model); !s)
    return s.error();
  move_pages(address, to, old_length < new_length ? old_length : new_length);
  if (status s = remove_areas(address, address + old_length); !s)
    return s.error();
  return to;
}

status populate(uptr address, u64 length) {
  if (!check_range(address, length))
    return errc::inval;
  mutex_guard g(space().lock);
  return populate_locked(address, address + length);
}

void init_brk(uptr start) {
  space().brk_start = space().brk_now = align_up(start, page_size);
}

uptr set_brk(uptr wanted) {
  space_state& s = space();
  mutex_guard g(s.lock);
  if (wanted < s.brk_start || wanted >= program_end)
    return s.brk_now;
  const uptr old_end = align_up(s.brk_now, page_size), new_end = align_up(wanted, page_size);
  if (new_end > old_end) {
    if (new_end - old_end > total_bytes() || !is_free(old_end, new_end))
      return s.brk_now;
    area a;
    a.start = old_end, a.end = new_end, a.prot = prot_read | prot_write, a.name = "[heap]";
    if (!insert_area(a))
      return s.brk_now;
  } else if (new_end < old_end) {
    if (!remove_areas(new_end, old_end))
      return s.brk_now;
  }
  return s.brk_now = wanted;
}

bool find_area(uptr address, area_info& out) {
  mutex_guard g(space().lock);
  area* a = first_area_after(address);
  if (!a)
    return false;
  out = {a->start, a->end, a->prot, a->kind, false, a->file_offset, a->name, 0};
  count_resident(a->start, a->end, out.resident_bytes, nullptr);
  return true;
}

status residency(uptr address, u64 length, std::span<u8> out) {
  if (!check_range(address, length))
    return errc::inval;
  mutex_guard g(space().lock);
  for (uptr v = address; v < address + length;) {
    area* a = first_area_after(v);
    if (!a || a->start > v)
      return errc::nomem;
    v = a->end;
  }
  if (out.size() < length / page_size)
    return errc::inval;
  for (u8& b : out)
    b = 0;
  u64 bytes;
  count_resident(address, address + length, bytes, out.data());
  return {};
}

u64 resident_bytes() {
  return space().resident.load(std::memory_order_relaxed);
}
u64 mapped_bytes() {
  return space().mapped;
}

void randomise_addresses(bool on) {
  is_randomised = on;
}

u64 random_pages(unsigned bits) {
  return is_randomised ? (random_u64() & ((u64{1} << bits) - 1)) * page_size : 0;
}

uptr random_base(u64 length) {
  mutex_guard g(space().lock);
  for (unsigned attempt = 0; attempt < 64; attempt++) {
    uptr at = program_place + random_pages(28);
    if (is_free(at, at + align_up(length, page_size)))
      return at;
  }
  return find_gap(align_up(length, page_size), page_size, map_top());
}

fault_result serve_fault(uptr address, bool write, bool fetch) {
  const uptr page = align_down(address, page_size);
  mutex_guard g(space().lock);
  area* a = first_area_after(address);
  if (!a || a->start > address)
    return fault_result::no_area;
  const u32 needed = write ? prot_write : (fetch ? prot_exec : prot_read | prot_write | prot_exec);
  if (!(a->prot & needed))
    return fault_result::no_right;
  return fill_page(*a, page);
}

bool fault_in(uptr address, usize n, bool write) {
  if (!is_program_range(address, n) || n == 0)
    return n == 0;
  for (uptr page = align_down(address, page_size); page < address + n; page += page_size) {
    if (serve_fault(page, write, false) != fault_result::served)
      return false;
  }
  return true;
}

}  // namespace solaster::kernel::mm

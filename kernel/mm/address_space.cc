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

// Fills what can be filled. EFAULT: some pages lie behind the end of their file.
status populate_locked(uptr start, uptr end) {
  bool past_end = false;
  for (uptr v = start; v < end;) {
    area* a = first_area_after(v);
    if (!a || a->start > v)
      return errc::nomem;
    const uptr stop = a->end < end ? a->end : end;
    if (!a->prot || a->kind == backing::contiguous) {
      v = stop;
      continue;
    }
    for (; v < stop; v += page_size) {
      auto r = fill_page(*a, v);
      if (r == fault_result::no_memory)
        return errc::nomem;
      if (r == fault_result::past_end)
        past_end = true;
    }
  }
  return past_end ? status(fail(errc::fault)) : status();
}

// No hole in [start, end).
bool is_mapped(uptr start, uptr end) {
  for (uptr v = start; v < end;) {
    area* a = first_area_after(v);
    if (!a || a->start > v)
      return false;
    v = a->end;
  }
  return true;
}

// Calls change(area&) for each area of [start, end), cut to it, and joins what became equal.
template <typename Change>
status change_areas(uptr start, uptr end, Change change) {
  TRY(split_at(start));
  TRY(split_at(end));
  for (area* a = first_area_after(start); a && a->start < end; a = first_area_after(a->end))
    change(*a);
  for (uptr v = start; v < end;) {
    area* a = first_area_after(v);
    if (!a)
      break;
    v = a->end;
    try_join(a);
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
  a.bytes = r.bytes, a.bytes_length = r.bytes_length, a.physical = r.physical, a.source = r.source;
  a.file_offset = r.file_offset, a.name = r.name;
  a.shared = r.shared, a.may_write = r.may_write, a.is_stack = r.is_stack;
  a.locked = r.locked || space().lock_future;
  if (status s = insert_area(a); !s)
    return s.error();
  if ((r.populate || a.locked) && r.prot) {
    if (status s = populate_locked(*place, *place + length); !s && s.error() == errc::nomem) {
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
    if ((a->kind == backing::contiguous && a->prot != prot) || ((prot & prot_write) && !a->may_write))
      return errc::acces;
    v = a->end;
  }
  return change_areas(address, end, [prot](area& a) {
    if (a.prot == prot)
      return;
    a.prot = prot;
    change_pages(a, a.start, a.end);
  });
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
    if (a->locked)
      return errc::inval;
    const bool comes_again = a->kind == backing::anonymous ? !a->shared : a->kind != backing::contiguous;
    if (comes_again)
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
  if (a->kind == backing::physical || a->kind == backing::contiguous)
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
      set_end(*a, address + new_length);
      const bool fill = a->locked && a->prot;
      try_join(a);
      if (fill)
        (void)populate_locked(end, address + new_length);  // as Linux: what cannot be had now comes at its touch
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
  const u64 kept = old_length < new_length ? old_length : new_length;
  if (!prepare_move(address, to, kept))
    return errc::nomem;
  area model = *first_area_after(address);
  model.start = to, model.end = to + new_length;
  if (status s = insert_area(model); !s)
    return s.error();
  move_pages(address, to, kept);
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

status lock_pages(uptr address, u64 length, bool on, bool fill) {
  if (!check_range(address, length))
    return errc::nomem;
  const uptr end = address + length;
  mutex_guard g(space().lock);
  if (!is_mapped(address, end))
    return errc::nomem;
  TRY(change_areas(address, end, [on](area& a) { a.locked = on; }));
  if (on && fill && !populate_locked(address, end))
    return errc::nomem;
  return {};
}

status lock_all(bool current, bool future, bool fill) {
  mutex_guard g(space().lock);
  space().lock_future = future;
  if (!current)
    return {};
  TRY(change_areas(program_base, program_end, [](area& a) { a.locked = true; }));
  for (area* a = first_area_after(0); a && fill; a = first_area_after(a->end))
    if (a->prot && !a->is_stack)
      if (auto s = populate_locked(a->start, a->end); !s && s.error() == errc::nomem)
        return s;
  return {};
}

void unlock_all() {
  mutex_guard g(space().lock);
  space().lock_future = false;
  (void)change_areas(program_base, program_end, [](area& a) { a.locked = false; });  // splits nothing: cannot fail
}

u64 locked_bytes() {
  mutex_guard g(space().lock);
  u64 sum = 0;
  for (area* a = first_area_after(0); a; a = first_area_after(a->end))
    sum += a->locked ? a->end - a->start : 0;
  return sum;
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
    a.locked = s.lock_future;
    if (!insert_area(a))
      return s.brk_now;
    if (a.locked)
      (void)populate_locked(old_end, new_end);  // as Linux: what cannot be had now comes at its touch
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
  out = {a->start, a->end, a->prot, a->kind, a->shared, a->locked, a->file_offset, a->name, a->source};
  return true;
}

status residency(uptr address, u64 length, std::span<u8> out) {
  if (!check_range(address, length))
    return errc::inval;
  mutex_guard g(space().lock);
  if (!is_mapped(address, address + length))
    return errc::nomem;
  if (out.size() < length / page_size)
    return errc::inval;
  for (u8& b : out)
    b = 0;
  mark_resident(address, address + length, out.data());
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

void forget_source_pages(page_source& source, u64 first) {
  mutex_guard g(space().lock);
  const u64 from = first * page_size;
  for (area* a = source.mapped_by; a; a = a->next_of_source) {
    const uptr start = from > a->file_offset ? a->start + (from - a->file_offset) : a->start;
    if (start < a->end)
      drop_pages(start, a->end);
  }
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

#include "kernel/mm/areas.hh"

#include "kernel/lib/entropy.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/user_access.hh"

namespace solaster::kernel::mm {
namespace {

// Areas of one program, against a program that maps for ever (Linux: vm.max_map_count 65530).
constexpr usize areas_max = 65530;
usize area_count = 0;

void free_area(area* a) {
  space().mapped -= a->end - a->start;
  area_count--;
  space().areas.erase(space().areas.iterator_to(*a));
  delete a;
}

bool can_join(const area& low, const area& high) {
  return low.end == high.start && low.kind == backing::anonymous && high.kind == backing::anonymous &&
         low.prot == high.prot && low.name == high.name;
}

}  // namespace

space_state& space() {
  static space_state s;
  return s;
}

area* new_area(const area& model) {
  if (area_count >= areas_max)
    return nullptr;
  auto* a = new (std::nothrow) area;
  if (!a)
    return nullptr;
  a->start = model.start, a->end = model.end, a->prot = model.prot, a->kind = model.kind;
  a->uncached = model.uncached, a->bytes = model.bytes, a->bytes_length = model.bytes_length;
  a->physical = model.physical, a->file_offset = model.file_offset, a->name = model.name;
  area_count++;
  return a;
}

area* first_area_after(uptr address) {
  auto& set = space().areas;
  auto i = set.upper_bound(address);
  if (i != set.begin()) {
    auto before = i;
    --before;
    if (before->end > address)
      return &*before;
  }
  return i == set.end() ? nullptr : &*i;
}

bool is_free(uptr start, uptr end) {
  area* a = first_area_after(start);
  return !a || a->start >= end;
}

uptr find_gap(u64 length, u64 alignment, uptr top) {
  auto& set = space().areas;
  uptr end = top;
  auto i = set.lower_bound(top);
  for (;;) {
    uptr low = program_base;
    if (i != set.begin()) {
      --i;
      low = i->end;
    }
    if (end >= low && end - low >= length) {
      uptr start = align_down(end - length, alignment);
      if (start >= low)
        return start;
    }
    if (low == program_base)
      return 0;
    end = i->start;
  }
}

void try_join(area* a) {
  auto& set = space().areas;
  auto i = set.iterator_to(*a);
  if (i != set.begin()) {
    auto before = i;
    --before;
    if (can_join(*before, *a)) {
      uptr end = a->end;
      space().mapped += end - a->start;
      free_area(a);
      before->end = end;
      a = &*before;
    }
  }
  auto after = set.iterator_to(*a);
  ++after;
  if (after != set.end() && can_join(*a, *after)) {
    uptr end = after->end;
    space().mapped += end - after->start;
    free_area(&*after);
    a->end = end;
  }
}

status insert_area(const area& model) {
  area* a = new_area(model);
  if (!a)
    return errc::nomem;
  space().areas.insert(*a);
  space().mapped += a->end - a->start;
  try_join(a);
  return {};
}

status split_at(uptr address) {
  area* a = first_area_after(address);
  if (!a || a->start >= address)
    return {};
  area* high = new_area(*a);
  if (!high)
    return errc::nomem;
  const u64 distance = address - a->start;
  high->start = address;
  high->file_offset += distance;
  high->physical += distance;
  if (high->bytes) {
    const u64 skip = distance < high->bytes_length ? distance : high->bytes_length;
    high->bytes += skip;
    high->bytes_length -= skip;
  }
  a->end = address;
  space().areas.insert(*high);
  return {};
}

status remove_areas(uptr start, uptr end) {
  bool any = false;
  for (area* a = first_area_after(start); a && a->start < end; a = first_area_after(a->end)) {
    if (a->kind == backing::contiguous)
      return errc::inval;
    any = true;
  }
  if (!any)
    return {};
  if (status s = split_at(start); !s)
    return s;
  if (status s = split_at(end); !s)
    return s;
  drop_pages(start, end);
  while (area* a = first_area_after(start)) {
    if (a->start >= end)
      break;
    free_area(a);
  }
  return {};
}

}  // namespace solaster::kernel::mm

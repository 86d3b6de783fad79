#include "kernel/mm/areas.hh"

#include "kernel/lib/entropy.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/user_access.hh"

namespace solaster::kernel::mm {
namespace {

void link_to_source(area& a) {
  if (!a.source)
    return;
  area*& first = a.source->mapped_by;
  a.next_of_source = first;
  if (first)
    first->previous_of_source = &a;
  first = &a;
}

void unlink_from_source(area& a) {
  if (!a.source)
    return;
  (a.previous_of_source ? a.previous_of_source->next_of_source : a.source->mapped_by) = a.next_of_source;
  if (a.next_of_source)
    a.next_of_source->previous_of_source = a.previous_of_source;
}

void free_area(area* a) {
  space().mapped -= a->end - a->start;
  space().areas.erase(*a);
  unlink_from_source(*a);
  delete a;
}

bool can_join(const area& low, const area& high) {
  return low.end == high.start && low.kind == backing::anonymous && high.kind == backing::anonymous &&
         low.prot == high.prot && low.name == high.name && low.shared == high.shared && low.locked == high.locked &&
         low.is_stack == high.is_stack;
}

area* as_area(range_node* n) {
  return static_cast<area*>(n);  // nothing else is in the tree
}

bool is_valid_area(const area& a) {
  if ((a.start | a.end) & (page_size - 1) || a.start < program_base || a.end > program_end)
    return false;
  if ((a.kind == backing::file) != bool(a.source) || (a.shared && !a.may_write && (a.prot & prot_write)))
    return false;
  return !a.source || (a.previous_of_source ? a.previous_of_source->next_of_source : a.source->mapped_by) == &a;
}

}  // namespace

space_state& space() {
  static space_state s;
  return s;
}

bool is_valid() {
  u64 mapped = 0;
  for (range_node* n = space().areas.first(); n; n = range_tree::next(*n)) {
    if (!is_valid_area(*as_area(n)))
      return false;
    mapped += n->end - n->start;
  }
  return mapped == space().mapped && space().areas.is_valid();
}

void check_areas() {
  if (space().pace.is_due(space().areas.size()))
    KCHECK(is_valid());
}

area* new_area(const area& model) {
  if (space().areas.size() >= areas_max)
    return nullptr;
  auto* a = new (std::nothrow) area(model);
  if (!a)
    return nullptr;
  a->next_of_source = a->previous_of_source = nullptr;
  link_to_source(*a);
  return a;
}

area* first_area_after(uptr address) {
  return as_area(space().areas.first_after(address));
}

bool is_free(uptr start, uptr end) {
  area* a = first_area_after(start);
  return !a || a->start >= end;
}

uptr find_gap(u64 length, u64 alignment, uptr top) {
  return space().areas.find_gap(length, alignment, program_base, top);
}

void set_end(area& a, uptr end) {
  space().mapped += end - a.end;
  a.end = end;
  space().areas.resized(a);
}

void try_join(area* a) {
  area* before = as_area(range_tree::previous(*a));
  if (before && can_join(*before, *a)) {
    uptr end = a->end;
    free_area(a);
    set_end(*before, end);
    a = before;
  }
  area* after = as_area(range_tree::next(*a));
  if (after && can_join(*a, *after)) {
    uptr end = after->end;
    free_area(after);
    set_end(*a, end);
  }
  check_areas();
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
  space().areas.resized(*a);
  space().areas.insert(*high);
  check_areas();
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
  check_areas();
  return {};
}

}  // namespace solaster::kernel::mm

// The ordered set of the program's areas, and the address space's one instance of everything. Private to mm/.
//
// Areas are disjoint, page-aligned and sorted by start. Context: the space's mutex is held.
#pragma once

#include <boost/intrusive/set.hpp>

#include "kernel/mm/address_space.hh"
#include "kernel/sync/wait_queue.hh"

namespace solaster::kernel::mm {

struct area : boost::intrusive::set_base_hook<> {
  uptr start = 0, end = 0;
  u32 prot = 0;
  backing kind = backing::anonymous;
  bool uncached = false;
  const std::byte* bytes = nullptr;  // content of `start`
  u64 bytes_length = 0;
  u64 physical = 0;  // of `start`
  u64 file_offset = 0;
  const char* name = nullptr;
};
struct area_start {
  using type = uptr;
  uptr operator()(const area& a) const { return a.start; }
};
using area_set = boost::intrusive::set<area, boost::intrusive::key_of_value<area_start>>;

struct space_state {
  mutex lock;
  area_set areas;
  u64 mapped = 0;
  std::atomic<u64> resident{0};
  uptr brk_start = 0, brk_now = 0;
  uptr map_top = 0;  // mappings without an address go below this
};
space_state& space();

// The first area with end > address; null: none.
area* first_area_after(uptr address);
bool is_free(uptr start, uptr end);
// Top-down below `top`; 0: no room.
uptr find_gap(u64 length, u64 alignment, uptr top);
// Puts an area in; joins it with equal neighbours of anonymous memory.
status insert_area(const area& model);
// After this no area crosses `address`.
status split_at(uptr address);
// Takes out areas of [start, end) and their pages (both ends are split first). EINVAL: contiguous memory is in it.
status remove_areas(uptr start, uptr end);
area* new_area(const area& model);
void try_join(area* a);

// ---- pages (pages.cc)
u64 entry_flags(const area& a);
// Frees the pages of [start, end) after every CPU forgot them.
void drop_pages(uptr start, uptr end);
// Sets the rights of the present pages of an area's part.
void change_pages(const area& a, uptr start, uptr end);
void move_pages(uptr from, uptr to, u64 length);
fault_result fill_page(area& a, uptr page);
void count_resident(uptr start, uptr end, u64& bytes, u8* each);

}  // namespace solaster::kernel::mm

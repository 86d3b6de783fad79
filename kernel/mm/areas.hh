// The ordered set of the program's areas, and the address space's one instance of everything. Private to mm/.
//
// Areas are disjoint, page-aligned and sorted by start. Context: the space's mutex is held.
#pragma once

#include "kernel/lib/ref.hh"
#include "kernel/lib/walk_pace.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/page_source.hh"
#include "kernel/mm/range_tree.hh"
#include "kernel/sync/wait_queue.hh"

namespace solaster::kernel::mm {

struct area : range_node {
  u32 prot = 0;
  backing kind = backing::anonymous;
  bool uncached = false;
  bool shared = false;    // what is written is the file's, or stays when pages are dropped
  bool may_write = true;  // false: a shared mapping of a file that was opened for reading
  bool locked = false;    // mlock: filled, and not dropped by advice
  bool is_stack = false;  // Linux would have grown it to what was touched: locking everything does not fill it
  const std::byte* bytes = nullptr;  // content of `start`
  u64 bytes_length = 0;
  u64 physical = 0;         // of `start`
  ref<page_source> source;  // file: what the pages come from
  u64 file_offset = 0;      // of `start`
  const char* name = nullptr;
  area *next_of_source = nullptr, *previous_of_source = nullptr;
};

struct space_state {
  mutex lock;
  range_tree areas;
  u64 mapped = 0;
  std::atomic<u64> resident{0};
  uptr brk_start = 0, brk_now = 0;
  uptr map_top = 0;          // mappings without an address go below this
  bool lock_future = false;  // mlockall(MCL_FUTURE)
  [[no_unique_address]] walk_pace pace;
};
space_state& space();

// Areas are disjoint, page-aligned, in the program's half, know their sources and are known by them; `mapped` is their
// sum. The mutex is held.
bool is_valid();
void check_areas();  // in debug builds, after a change

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
void set_end(area& a, uptr end);  // into free space, or shorter
void try_join(area* a);

// ---- pages (pages.cc)
u64 entry_flags(const area& a);
// Frees the pages of [start, end) after every CPU forgot them.
void drop_pages(uptr start, uptr end);
// Sets the rights of the present pages of an area's part.
void change_pages(const area& a, uptr start, uptr end);
// Makes the tables that move_pages needs. False: out of memory, and nothing has changed.
bool prepare_move(uptr from, uptr to, u64 length);
void move_pages(uptr from, uptr to, u64 length);
fault_result fill_page(area& a, uptr page);
// Sets each[i] to 1 for the pages that are there.
void mark_resident(uptr start, uptr end, u8* each);

}  // namespace solaster::kernel::mm

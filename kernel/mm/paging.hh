// Page-table entries and walks of the one page-table tree (four levels).
//
// Spec: Intel SDM vol. 3, 4.5. Units: physical and virtual byte addresses, 4 KiB pages unless said.
// Context: callers serialise: the address space's mutex for the low half, the kernel map's lock for the high half.
#pragma once

#include "kernel/lib/types.hh"
#include "kernel/mm/frames.hh"

namespace solaster::kernel::paging {

inline constexpr u64 present = 1, writable = 2, user = 4, write_through = 8, cache_disable = 16, accessed = 32,
                     dirty = 64, huge = 128, global = 256, no_execute = 1ull << 63;
// Software bits. owned: the frame belongs to the page table's area and is freed with it. parked: not present, address
// kept while other CPUs may still hold the translation (unmap's first pass).
// sealed: code of the program; the frame cannot be written through the physical map either.
inline constexpr u64 owned = 1u << 9, parked = 1u << 10, sealed = 1u << 11;
inline constexpr u64 address_mask = 0x000f'ffff'ffff'f000;
inline constexpr u64 table_size = 512;

mm::phys_addr root();
void prepare_root(mm::phys_addr p);  // walks start there from now on
void set_root(mm::phys_addr p);      // and the CPU's do, too

// The entry of the 4 KiB page at `v`; null when a table is missing (or out of memory with `create`), or when a 2 MiB
// page is there (then *large, if given, is its entry).
u64* find_entry(u64 v, bool create, u64** large = nullptr);
// The level-2 (2 MiB) entry.
u64* find_large_entry(u64 v, bool create);

// Boot and kernel ranges: maps [v, v + length) to p with 2 MiB and 1 GiB pages where they fit and `may_be_large`.
bool map_range(u64 v, mm::phys_addr p, u64 length, u64 flags, bool may_be_large);

// Gives or takes the right to write of [v, v + length), which is mapped; larger pages are split where they are cut. The
// caller flushes. False: no memory for a table, and what was done stays done.
bool set_writable(u64 v, u64 length, bool is_writable);

void flush_local(u64 start, u64 end);
void flush_local_all();

}  // namespace solaster::kernel::paging

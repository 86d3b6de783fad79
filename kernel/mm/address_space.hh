// The low half of the one address space: the program's mappings, filled on demand.
//
// Every page belongs to an area (start, end, protection, backing). Pages come at the first touch (anonymous: zeroed;
// bytes: copied from memory that the kernel holds, such as the program's file; file: see page_source.hh), unless
// populated. A change that takes rights away shoots down the other CPUs' TLBs before it returns. Owns: page tables of
// the low half and the frames of anonymous and copied pages. Borrows: `bytes` backing memory, for ever. Errors: Linux
// errno of mmap, munmap, mprotect, madvise (ENOMEM, EINVAL, EEXIST, EACCES). Context: thread; sleeps on the space's
// mutex. Never touch program memory while holding a lock that a fault needs. Units: bytes; addresses and lengths are
// rounded to pages here as Linux does.
#pragma once

#include <span>
#include <string_view>

#include "kernel/lib/errno.hh"
#include "kernel/lib/ref.hh"
#include "kernel/lib/types.hh"
#include "kernel/mm/page_source.hh"

namespace solaster::kernel::mm {

// Areas of one program, against a program that maps for ever (Linux: vm.max_map_count).
inline constexpr usize areas_max = 65530;

enum prot : u32 { prot_none = 0, prot_read = 1, prot_write = 2, prot_exec = 4 };

enum class backing : u8 {
  anonymous,  // zero pages
  bytes,      // private copy of kernel-held memory, zero past its end
  file,       // a page_source: its own pages (shared) or copies of them; past its end SIGBUS
  physical,   // a fixed physical range, not owned (device registers are uncached, see `uncached`)
  contiguous  // owned physical blocks, resident (shard memory)
};

struct map_request {
  uptr address = 0;  // hint, or exact with fixed
  u64 length = 0;
  u32 prot = prot_read | prot_write;
  backing kind = backing::anonymous;
  bool fixed = false;                // replaces what is there
  bool no_replace = false;           // with fixed: EEXIST instead of replacing
  bool populate = false;             // all pages now
  bool shared = false;               // writes go to the file; anonymous: kept when pages are dropped by advice
  bool may_write = true;             // false: PROT_WRITE is refused now and later (EACCES)
  bool locked = false;               // MAP_LOCKED: as mlock
  bool is_stack = false;             // the first thread's: mlockall does not fill it
  bool uncached = false;             // physical only
  bool no_reserve = false;           // more than there is RAM is fine (MAP_NORESERVE)
  bool below_4g = false;             // MAP_32BIT: below 2 GiB
  const std::byte* bytes = nullptr;  // bytes: content of offset 0 of the area
  u64 bytes_length = 0;              // bytes: valid bytes from there
  u64 physical = 0;                  // physical: base
  ref<page_source> source;           // file
  u64 file_offset = 0;               // file: of the first page; else for /proc/self/maps only
  const char* name = nullptr;        // static or never freed: "[heap]", "/memcached"
};

struct area_info {
  uptr start, end;
  u32 prot;
  backing kind;
  bool shared;
  bool locked;
  u64 file_offset;
  const char* name;
  ref<page_source> source;
};

result<uptr> map(const map_request& r);
status unmap(uptr address, u64 length);
status protect(uptr address, u64 length, u32 prot);
// Drops the pages; the next touch gets fresh ones, or the file's (MADV_DONTNEED). EINVAL: locked.
status discard(uptr address, u64 length);
// mremap. may_move as MREMAP_MAYMOVE; fixed_address as MREMAP_FIXED (0: anywhere).
result<uptr> remap(uptr address, u64 old_length, u64 new_length, bool may_move, uptr fixed_address = 0);
status populate(uptr address, u64 length);
// mlock and munlock: ENOMEM when a page is not mapped, or cannot be filled. Nothing is ever written out, so a locked
// page is one that is there.
status lock_pages(uptr address, u64 length, bool on, bool fill = true);
// mlockall: the areas that are there, those to come. munlockall: neither.
status lock_all(bool current, bool future, bool fill);
void unlock_all();
u64 locked_bytes();
// The program break. brk_start is set once by the loader; set_brk(0) or a refusal returns the current one.
void init_brk(uptr start);
uptr set_brk(uptr wanted);
// The area that contains `address`, or the next above it. False: none.
bool find_area(uptr address, area_info& out);
// One byte per page: bit 0 set when resident (mincore). ENOMEM when a page is not mapped.
status residency(uptr address, u64 length, std::span<u8> out);

u64 resident_bytes();
u64 mapped_bytes();

// A random, page-aligned place for `length` bytes: where the loader puts the program (W^X segments keep their
// distances).
uptr random_base(u64 length);
// A distance of up to 2^bits pages by which a place is made unpredictable. Always 0 after randomise_addresses(false),
// which a debugger wants: symbols are then where its script says.
u64 random_pages(unsigned bits);
void randomise_addresses(bool on);

enum class fault_result : u8 { served, no_area, no_right, no_memory, past_end };
// Called by the page-fault entry for addresses of the program's half; present/write/fetch from the error code.
fault_result serve_fault(uptr address, bool write, bool fetch);

// Fills pages before an access with interrupts off or under a spinlock (futex words). False: EFAULT.
bool fault_in(uptr address, usize n, bool write);

}  // namespace solaster::kernel::mm

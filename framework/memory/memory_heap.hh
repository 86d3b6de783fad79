// A heap over one range of addresses: runs of pages ("spans"), and small objects of 64 sizes carved from spans.
//
// The fast paths of malloc and free are here, to be inlined into malloc.cc: a small malloc pops the list of the current
// span of its size, a small free pushes to the list of the span that the address belongs to. Everything else is in
// memory_heap.cc.
//
// Owns:    the range [base, base + bytes): first its bookkeeping (this object for a shard, and one `page` per 4 KiB),
// then the spans. Context: one thread at a time: the shard's, or whoever holds the arena's lock. Only `foreign` is
// touched by others. Limits:  small_max; larger objects take whole pages. At most 2^32 pages.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "framework/memory/memory.hh"

namespace solaster::memory {

enum class page_kind : uint8_t {
  untouched = 0,  // inside a span, or never used
  reserved,       // bookkeeping, or past the end
  free,           // first and last page of a free span
  small,          // every page of a span of small objects
  large,          // first page of a span that is one object
  kept,           // first page of a span that was one, kept for the next of its length
};

// What is known of a page. The fields that speak of a span stand in its first page only, unless noted.
struct page {
  void* free_list = nullptr;  // small: objects of the span that are free, linked through their first word
  uint32_t span = 0;          // first page of the span; in every page of a small one, and in the last of a free one
  uint32_t pages = 0;         // length of the span
  uint32_t next = 0;          // free: in its bin; small: in its size's list of spans with free objects. 0 ends the list
  uint32_t prev = 0;
  uint16_t used = 0;    // small: objects handed out, and one more while the span is its size's current one
  uint16_t carved = 0;  // small: objects that exist, handed out or free; the rest of the span was never touched
  page_kind kind = page_kind::untouched;
  uint8_t size_class = 0;
  bool full = false;  // small: no free object was left when it was last looked at; it is in no list
};
static_assert(sizeof(page) == 32);

// Sizes: 16, 32, ... 128, then eight steps per doubling up to small_max. All are multiples of 16.
inline constexpr size_t small_max = 16384;
inline constexpr unsigned size_classes = 65;  // 1..64; 0 is not used

constexpr unsigned size_class_of(size_t n) noexcept {
  if (n <= 128) {
    return n == 0 ? 1 : unsigned((n + 15) / 16);
  }
  unsigned width = unsigned(std::bit_width(n - 1));
  return (width - 8) * 8 + unsigned((n - 1) >> (width - 4)) + 1;
}
constexpr size_t size_of_class(unsigned c) noexcept {
  return c <= 8 ? size_t(c) * 16 : size_t(8 + (c - 9) % 8 + 1) << (4 + (c - 9) / 8);
}
static_assert(size_class_of(small_max) == size_classes - 1 && size_of_class(size_classes - 1) == small_max);
static_assert(size_class_of(129) == 9 && size_of_class(9) == 144 && size_of_class(16) == 256 &&
              size_class_of(257) == 17);

struct heap {
  static constexpr unsigned bins = 128;
  static constexpr unsigned pieces_max = 64;
  // Freed spans that are kept whole, one for each length modulo kept_slots, none longer than kept_pages_max.
  static constexpr unsigned kept_slots = 8;
  static constexpr uint32_t kept_pages_max = 64;

  heap() noexcept = default;
  heap(const heap&) = delete;
  heap& operator=(const heap&) = delete;

  // Takes over [base, base + bytes), page-aligned and zeroed or fresh; the first `reserved_bytes` are the caller's.
  void init(char* base, size_t bytes, size_t reserved_bytes) noexcept;
  // Bytes that the bookkeeping of a range needs.
  static size_t metadata_bytes(size_t bytes) noexcept { return (bytes / page_size + 1) * sizeof(page); }

  bool contains(const void* p) const noexcept { return uintptr_t(p) - uintptr_t(base) < bytes; }

  void* allocate(size_t n) noexcept {
    if (n <= small_max) [[likely]] {
      unsigned c = size_class_of(n);
      page* s = current[c];
      if (void* o = s->free_list) [[likely]] {
        s->free_list = *static_cast<void**>(o);
        ++s->used;
        ++mallocs;
        return o;
      }
      return allocate_small_slow(c);
    }
    return allocate_large(n, 1);
  }
  void* allocate_aligned(size_t n, size_t alignment) noexcept;

  // `p` is an object of this heap.
  void release(void* p) noexcept {
    ++frees;
    page* pg = &page_table[(uintptr_t(p) - uintptr_t(base)) / page_size];
    if (pg->kind == page_kind::small) [[likely]] {
      page* s = &page_table[pg->span];
      *static_cast<void**>(p) = s->free_list;
      s->free_list = p;
      if (--s->used == 0 || s->full) [[unlikely]] {
        release_small_slow(s);
      }
      return;
    }
    release_large(p, pg);
  }
  size_t usable_size(const void* p) const noexcept;

  // Others' frees. Context: any thread. Returns how many now wait (at most 65535 is counted).
  unsigned push_foreign(void* p) noexcept;
  // The owner takes them in.
  size_t drain_foreign() noexcept;

  statistics stats() const noexcept;
  bool is_valid() const noexcept;

  // ---- the range ----
  char* base = nullptr;
  size_t bytes = 0;
  page* page_table = nullptr;  // one per page, and one past the end
  uint32_t first_page = 0;     // pages before it are bookkeeping
  uint32_t page_count = 0;
  size_t free_pages = 0;
  size_t kept_pages = 0;       // of the spans in `kept`: free too, but in no bin
  size_t low_water_pages = 0;  // below it the asynchronous reclaimers are asked
  bool reclaiming = false;
  bool reported = false;  // out of memory was reported
  int shard = -1;         // -1: the arena
  reclaimer* reclaimers = nullptr;

  page* current[size_classes];     // the span that a small malloc pops from; never null (`no_span` when there is none)
  uint32_t partial[size_classes];  // lists of other spans with free objects
  uint32_t kept[kept_slots];       // first pages; 0: none
  uint32_t bin_head[bins];         // free spans by length
  uint64_t bin_map[bins / 64];     // which of them are not empty

  // ---- figures ----
  uint64_t mallocs = 0;
  uint64_t frees = 0;
  uint64_t foreign_frees_sent = 0;
  uint64_t drained = 0;
  uint64_t large_mallocs = 0;
  uint64_t failed = 0;
  uint64_t reclaims = 0;

  dma_piece pieces[pieces_max];
  unsigned piece_count = 0;

  // ---- touched by others, on a line of its own ----
  // The last object freed by others, linked through their first words. The lower 48 bits are its address, the upper 16
  // how many there are.
  alignas(128) std::atomic<uint64_t> foreign{0};
  alignas(128) char end_of_foreign[1] = {};

 private:
  void* allocate_small_slow(unsigned c) noexcept;
  void* allocate_large(size_t n, size_t alignment_pages) noexcept;
  void release_small_slow(page* s) noexcept;
  void release_large(void* p, page* pg) noexcept;
  bool give_kept() noexcept;
  bool carve(page* s) noexcept;
  void make_current(page* s) noexcept;
  bool find_span_with_room(unsigned c) noexcept;
  uint32_t take_pages(size_t n, size_t alignment_pages) noexcept;
  uint32_t take_pages_or_reclaim(size_t n, size_t alignment_pages) noexcept;
  uint32_t find_free_span(size_t n) const noexcept;
  void give_pages(uint32_t first, uint32_t n) noexcept;
  void link_free(uint32_t first, uint32_t n) noexcept;
  void unlink_free(uint32_t first) noexcept;
  void link_partial(page* s) noexcept;
  void unlink_partial(page* s) noexcept;
  bool run_reclaimers(reclaimer::scope s, size_t bytes) noexcept;
  void report_out_of_memory(size_t n) noexcept;
  uint32_t index_of(const page* p) const noexcept { return uint32_t(p - page_table); }
  char* address_of(uint32_t i) const noexcept { return base + size_t(i) * page_size; }
  friend bool reclaim_if_low() noexcept;
};

}  // namespace solaster::memory

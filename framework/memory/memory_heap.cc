#include "framework/memory/memory_heap.hh"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "framework/base/check.hh"

namespace solaster::memory {

namespace {

// Stands in `current` where a size has no span: its list is always empty. Never written.
constinit page no_span{};

// Bins of free spans: one per length up to 32 pages, then four per doubling.
constexpr unsigned exact_bins = 32;
constexpr unsigned bin_of(size_t n) noexcept {
  if (n < exact_bins) {
    return unsigned(n);
  }
  unsigned width = unsigned(std::bit_width(n));  // 6 for 32..63
  return exact_bins + (width - 6) * 4 + unsigned((n >> (width - 3)) & 3);
}
static_assert(bin_of(31) == 31 && bin_of(32) == 32 && bin_of(63) == 35 && bin_of(64) == 36);
static_assert(bin_of(size_t(1) << 28) < heap::bins);
// How many spans of a bin whose members may be too short are looked at before the next bin is taken.
constexpr unsigned bin_scan_max = 8;

// Pages of a span for a size: enough for several objects, and little left over at its end.
constexpr uint8_t compute_span_pages(unsigned c) noexcept {
  size_t size = size_of_class(c);
  size_t want = std::max(std::clamp<size_t>(size * 32, page_size, 8 * page_size), size * 4);
  size_t least = (want + page_size - 1) / page_size;
  size_t best = least;
  for (size_t n = least; n <= least + least / 2; ++n) {
    if ((n * page_size % size) * best < (best * page_size % size) * n) {
      best = n;
    }
  }
  return uint8_t(best);
}
struct span_table {
  uint8_t pages[size_classes] = {};
  uint16_t objects[size_classes] = {};
  constexpr span_table() noexcept {
    for (unsigned c = 1; c < size_classes; ++c) {
      pages[c] = compute_span_pages(c);
      objects[c] = uint16_t(pages[c] * page_size / size_of_class(c));
    }
  }
};
constexpr span_table spans;

constexpr uint64_t foreign_address_mask = (uint64_t(1) << 48) - 1;
constexpr unsigned foreign_count_shift = 48;
constexpr unsigned foreign_count_max = 65535;

}  // namespace

void heap::init(char* b, size_t n, size_t reserved_bytes) noexcept {
  base = b;
  bytes = n / page_size * page_size;
  page_count = uint32_t(bytes / page_size);
  size_t table_at = (reserved_bytes + alignof(page) - 1) / alignof(page) * alignof(page);
  page_table =
      reinterpret_cast<page*>(base + table_at);  // SAFETY: the range is ours and zeroed, which is a valid `page`
  first_page = uint32_t((table_at + metadata_bytes(bytes) + page_size - 1) / page_size);
  for (auto& c : current) {
    c = &no_span;
  }
  std::fill(std::begin(partial), std::end(partial), 0u);
  std::fill(std::begin(kept), std::end(kept), 0u);
  std::fill(std::begin(bin_head), std::end(bin_head), 0u);
  std::fill(std::begin(bin_map), std::end(bin_map), uint64_t(0));
  page_table[first_page - 1].kind = page_kind::reserved;
  page_table[page_count].kind = page_kind::reserved;
  free_pages = 0;
  give_pages(first_page, page_count - first_page);
  low_water_pages = std::clamp<size_t>(free_pages / 32, 64, 16384);
}

// ---- small objects ----

void* heap::allocate_small_slow(unsigned c) noexcept {
  for (;;) {
    page* s = current[c];
    if (s->free_list || (s != &no_span && carve(s))) {
      void* o = s->free_list;
      s->free_list = *static_cast<void**>(o);
      ++s->used;
      ++mallocs;
      return o;
    }
    if (!find_span_with_room(c)) {
      return nullptr;
    }
  }
}

// Makes objects out of what of the span was never used: about a page at a time, so that memory is touched when it is
// needed.
bool heap::carve(page* s) noexcept {
  size_t size = size_of_class(s->size_class);
  unsigned have = s->carved;
  unsigned end = std::min<unsigned>(spans.objects[s->size_class], have + std::max<unsigned>(1, page_size / size));
  if (have == end) {
    return false;
  }
  char* at = address_of(index_of(s)) + have * size;
  void* list = nullptr;
  // The lowest address is handed out first.
  for (char* o = at + (end - have - 1) * size; o >= at; o -= size) {
    *reinterpret_cast<void**>(o) = list;  // SAFETY: inside the span, which is ours
    list = o;
  }
  s->free_list = list;
  s->carved = uint16_t(end);
  return true;
}

// The current span of the size is used up: sets it aside and makes another one current.
bool heap::find_span_with_room(unsigned c) noexcept {
  if (foreign.load(std::memory_order_relaxed) != 0) {
    drain_foreign();
  }
  page* old = current[c];
  if (old != &no_span) {
    if (old->free_list) {
      return true;  // what was drained belonged to it
    }
    --old->used;
    old->full = true;
    current[c] = &no_span;
  }
  if (uint32_t i = partial[c]) {
    page* s = &page_table[i];
    unlink_partial(s);
    make_current(s);
    return true;
  }
  unsigned n = spans.pages[c];
  uint32_t first = take_pages_or_reclaim(n, 1);
  if (first == 0) {
    // The reclaimers may have freed objects of this very size.
    if (partial[c]) {
      return find_span_with_room(c);
    }
    report_out_of_memory(size_of_class(c));
    return false;
  }
  for (unsigned i = 0; i < n; ++i) {
    page_table[first + i].kind = page_kind::small;
    page_table[first + i].span = first;
  }
  page* s = &page_table[first];
  s->free_list = nullptr;
  s->pages = n;
  s->used = 0;
  s->carved = 0;
  s->size_class = uint8_t(c);
  s->full = false;
  if (current[c] != &no_span) {  // a reclaimer's free cannot do this, an allocation of it could
    link_partial(s);
    return true;
  }
  make_current(s);
  return true;
}

// A current span counts as one object, so that freeing its last one is nothing special.
void heap::make_current(page* s) noexcept {
  ++s->used;
  current[s->size_class] = s;
}

void heap::release_small_slow(page* s) noexcept {
  unsigned c = s->size_class;
  DCHECK(s != current[c]);
  if (s->full) {
    s->full = false;
    link_partial(s);
  }
  // An empty span goes back, but for the only one of its size with room.
  if (s->used == 0 && (partial[c] != index_of(s) || s->next != 0)) {
    unlink_partial(s);
    give_pages(index_of(s), s->pages);
  }
}

void heap::link_partial(page* s) noexcept {
  uint32_t& head = partial[s->size_class];
  s->prev = 0;
  s->next = head;
  if (head) {
    page_table[head].prev = index_of(s);
  }
  head = index_of(s);
}

void heap::unlink_partial(page* s) noexcept {
  if (s->prev) {
    page_table[s->prev].next = s->next;
  } else {
    partial[s->size_class] = s->next;
  }
  if (s->next) {
    page_table[s->next].prev = s->prev;
  }
  s->next = s->prev = 0;
}

// ---- whole pages ----

void* heap::allocate_large(size_t n, size_t alignment_pages) noexcept {
  if (n > bytes) {
    ++failed;
    return nullptr;  // never possible: not an exhaustion worth a report
  }
  size_t count = (n + page_size - 1) / page_size;
  if (uint32_t i = kept[count % kept_slots]; i && page_table[i].pages == count && alignment_pages == 1) [[likely]] {
    kept[count % kept_slots] = 0;
    kept_pages -= count;
    page_table[i].kind = page_kind::large;
    ++mallocs;
    ++large_mallocs;
    return address_of(i);
  }
  uint32_t first = take_pages_or_reclaim(count, alignment_pages);
  if (first == 0) {
    report_out_of_memory(n);
    return nullptr;
  }
  page& p = page_table[first];
  p.kind = page_kind::large;
  p.span = first;
  p.pages = uint32_t(count);
  ++mallocs;
  ++large_mallocs;
  return address_of(first);
}

void* heap::allocate_aligned(size_t n, size_t alignment) noexcept {
  if (alignment <= 16) {
    return allocate(n);
  }
  if (alignment <= page_size) {
    // Objects lie at multiples of their size from a page boundary: a size that is a multiple of the alignment will do.
    size_t size = n < alignment ? alignment : n;
    while (size <= small_max) {
      size = size_of_class(size_class_of(size));
      if (size % alignment == 0) {
        return allocate(size);
      }
      ++size;
    }
    return allocate_large(n, 1);
  }
  return allocate_large(n == 0 ? 1 : n, alignment / page_size);
}

void heap::release_large(void* p, page* pg) noexcept {
  if (pg->kind != page_kind::large || (uintptr_t(p) & (page_size - 1))) [[unlikely]] {
    static constexpr char text[] = "solaster: free() of an address that is no object\n";
    (void)!::write(2, text, sizeof text - 1);
    __builtin_trap();
  }
  uint32_t& slot = kept[pg->pages % kept_slots];
  if (slot == 0 && pg->pages <= kept_pages_max && free_pages > 2 * low_water_pages) [[likely]] {
    slot = index_of(pg);
    kept_pages += pg->pages;
    pg->kind = page_kind::kept;
    return;
  }
  give_pages(index_of(pg), pg->pages);
}

// Memory is short: what was kept goes to the bins. False when there was nothing.
bool heap::give_kept() noexcept {
  if (kept_pages == 0) {
    return false;
  }
  for (uint32_t& first : kept) {
    if (first != 0) {
      uint32_t n = page_table[first].pages;
      kept_pages -= n;
      give_pages(std::exchange(first, 0), n);
    }
  }
  DCHECK(kept_pages == 0);
  return true;
}

size_t heap::usable_size(const void* p) const noexcept {
  const page& pg = page_table[(uintptr_t(p) - uintptr_t(base)) / page_size];
  return pg.kind == page_kind::small ? size_of_class(page_table[pg.span].size_class) : size_t(pg.pages) * page_size;
}

uint32_t heap::take_pages_or_reclaim(size_t n, size_t alignment_pages) noexcept {
  uint32_t first = take_pages(n, alignment_pages);
  if (first == 0 && foreign.load(std::memory_order_relaxed) != 0) {
    drain_foreign();
    first = take_pages(n, alignment_pages);
  }
  if (first == 0 && give_kept()) {
    first = take_pages(n, alignment_pages);
  }
  while (first == 0 && run_reclaimers(reclaimer::scope::sync, (n + alignment_pages - 1) * page_size)) {
    first = take_pages(n, alignment_pages);
  }
  return first;
}

// A span of `n` pages whose address is a multiple of `alignment_pages` pages; 0 when there is none.
uint32_t heap::take_pages(size_t n, size_t alignment_pages) noexcept {
  uint32_t first = find_free_span(n + alignment_pages - 1);
  if (first == 0) {
    return 0;
  }
  uint32_t have = page_table[first].pages;
  unlink_free(first);
  free_pages -= have;
  uintptr_t address = uintptr_t(address_of(first)) / page_size;
  uint32_t skip = uint32_t((alignment_pages - address % alignment_pages) % alignment_pages);
  if (skip) {
    link_free(first, skip);
    free_pages += skip;
    first += skip;
    have -= skip;
  }
  if (have > n) {
    link_free(first + uint32_t(n), have - uint32_t(n));
    free_pages += have - n;
  }
  page_table[first].kind = page_kind::untouched;
  page_table[first + n - 1].kind = page_kind::untouched;
  return first;
}

uint32_t heap::find_free_span(size_t n) const noexcept {
  unsigned b = bin_of(n);
  uint32_t i = bin_head[b];
  for (unsigned tries = 0; i && tries < bin_scan_max; ++tries, i = page_table[i].next) {
    if (page_table[i].pages >= n) {
      return i;
    }
  }
  // Any span of a later bin is long enough.
  unsigned w = (b + 1) / 64;
  for (uint64_t mask = ~uint64_t(0) << ((b + 1) % 64); w < bins / 64; ++w, mask = ~uint64_t(0)) {
    if (uint64_t m = bin_map[w] & mask) {
      return bin_head[w * 64 + unsigned(std::countr_zero(m))];
    }
  }
  for (; i; i = page_table[i].next) {
    if (page_table[i].pages >= n) {
      return i;
    }
  }
  return 0;
}

// Makes a span free, together with its free neighbours.
void heap::give_pages(uint32_t first, uint32_t n) noexcept {
  for (uint32_t i = first; page_table[first].kind == page_kind::small && i < first + n; ++i) {
    if (i != first) {
      page_table[i].kind = page_kind::untouched;
    }
  }
  free_pages += n;
  if (const page& before = page_table[first - 1]; before.kind == page_kind::free) {
    uint32_t start = before.span;
    n += first - start;
    unlink_free(start);
    page_table[first - 1].kind = page_kind::untouched;
    page_table[first].kind = page_kind::untouched;
    first = start;
  }
  if (page& after = page_table[first + n]; after.kind == page_kind::free) {
    uint32_t more = after.pages;
    unlink_free(first + n);
    page_table[first + n - 1].kind = page_kind::untouched;
    after.kind = page_kind::untouched;
    n += more;
  }
  link_free(first, n);
}

void heap::link_free(uint32_t first, uint32_t n) noexcept {
  page& head = page_table[first];
  page& tail = page_table[first + n - 1];
  tail.kind = page_kind::free;
  tail.span = first;
  head.kind = page_kind::free;
  head.span = first;
  head.pages = n;
  unsigned b = bin_of(n);
  head.prev = 0;
  head.next = bin_head[b];
  if (head.next) {
    page_table[head.next].prev = first;
  }
  bin_head[b] = first;
  bin_map[b / 64] |= uint64_t(1) << (b % 64);
}

void heap::unlink_free(uint32_t first) noexcept {
  page& head = page_table[first];
  unsigned b = bin_of(head.pages);
  if (head.prev) {
    page_table[head.prev].next = head.next;
  } else {
    bin_head[b] = head.next;
    if (!head.next) {
      bin_map[b / 64] &= ~(uint64_t(1) << (b % 64));
    }
  }
  if (head.next) {
    page_table[head.next].prev = head.prev;
  }
  head.next = head.prev = 0;
}

// ---- frees from elsewhere ----

unsigned heap::push_foreign(void* p) noexcept {
  uint64_t head = foreign.load(std::memory_order_relaxed);
  uint64_t count;
  do {
    *static_cast<uint64_t*>(p) = head;
    count = std::min<uint64_t>((head >> foreign_count_shift) + 1, foreign_count_max);
    // Release: pairs with the acquire of drain_foreign, which reads the links.
  } while (!foreign.compare_exchange_weak(head, uint64_t(uintptr_t(p)) | count << foreign_count_shift,
                                          std::memory_order_release, std::memory_order_relaxed));
  return unsigned(count);
}

// There is no ABA: the owner takes the whole list at once, and a push needs nothing of the object it links to.
size_t heap::drain_foreign() noexcept {
  uint64_t head = foreign.exchange(0, std::memory_order_acquire);
  size_t n = 0;
  while (uint64_t address = head & foreign_address_mask) {
    void* p = reinterpret_cast<void*>(address);  // SAFETY: pushed by push_foreign, an object of this heap
    head = *static_cast<uint64_t*>(p);
    release(p);
    ++n;
  }
  frees -= n;
  drained += n;
  return n;
}

// ---- running low ----

bool heap::run_reclaimers(reclaimer::scope s, size_t want) noexcept {
  if (reclaiming || !reclaimers) {
    return false;
  }
  reclaiming = true;
  bool any = false;
  for (reclaimer* r = reclaimers; r; r = r->next) {
    if (s == reclaimer::scope::async || r->where() == s) {
      ++reclaims;
      any |= r->run(want);
    }
  }
  reclaiming = false;
  return any;
}

void heap::report_out_of_memory(size_t n) noexcept {
  ++failed;
  if (reported) {
    return;
  }
  reported = true;
  statistics s = stats();
  char text[400];
  char who[24] = "the common arena";
  if (shard >= 0) {
    std::snprintf(who, sizeof who, "shard %d", shard);
  }
  int len = std::snprintf(text, sizeof text,
                          "solaster: %s is out of memory: %zu bytes asked, %zu free (at most %zu in one piece) of %zu, "
                          "%llu objects live; raise --memory "
                          "or lower --smp (said once)\n",
                          who, n, s.free_bytes, s.largest_free_bytes, s.total_bytes,
                          static_cast<unsigned long long>(s.live_objects()));
  (void)!::write(2, text, size_t(std::min<int>(len, sizeof text - 1)));
}

statistics heap::stats() const noexcept {
  statistics s;
  s.mallocs = mallocs;
  s.frees = frees;
  s.foreign_frees = foreign_frees_sent;
  s.drained_frees = drained;
  s.large_mallocs = large_mallocs;
  s.failed = failed;
  s.reclaims = reclaims;
  s.total_bytes = size_t(page_count - first_page) * page_size;
  s.free_bytes = (free_pages + kept_pages) * page_size;
  for (unsigned w = bins / 64; w-- > 0;) {
    if (bin_map[w]) {
      unsigned b = w * 64 + 63 - unsigned(std::countl_zero(bin_map[w]));
      s.largest_free_bytes = size_t(page_table[bin_head[b]].pages) * page_size;
      break;
    }
  }
  return s;
}

// ---- the walk ----

namespace {

bool is_span_valid(const heap& h, const page& s, uint32_t first) noexcept {
  unsigned c = s.size_class;
  if (c == 0 || c >= size_classes || s.pages != spans.pages[c] || s.carved > spans.objects[c] ||
      s.used > s.carved + unsigned(h.current[c] == &s)) {
    return false;
  }
  size_t in_list = 0;
  char* start = h.base + size_t(first) * page_size;
  for (void* o = s.free_list; o; o = *static_cast<void**>(o)) {
    size_t at = size_t(static_cast<char*>(o) - start);
    if (at >= s.carved * size_of_class(c) || at % size_of_class(c) != 0 || ++in_list > s.carved) {
      return false;
    }
  }
  size_t handed_out = s.used - size_t(h.current[c] == &s);
  if (in_list != size_t(s.carved - handed_out) || (s.full && s.free_list)) {
    return false;
  }
  for (uint32_t i = first; i < first + s.pages; ++i) {
    if (h.page_table[i].kind != page_kind::small || h.page_table[i].span != first) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool heap::is_valid() const noexcept {
  size_t free_seen = 0, kept_seen = 0;
  bool last_free = false;
  uint32_t i = first_page;
  while (i < page_count) {
    const page& p = page_table[i];
    if (p.pages == 0 || p.span != i || p.pages > page_count - i) {
      return false;
    }
    switch (p.kind) {
      case page_kind::free:
        // Two neighbours are never both free.
        if (last_free || page_table[i + p.pages - 1].kind != page_kind::free || page_table[i + p.pages - 1].span != i) {
          return false;
        }
        free_seen += p.pages;
        break;
      case page_kind::small:
        if (!is_span_valid(*this, p, i)) {
          return false;
        }
        break;
      case page_kind::large:
        break;
      case page_kind::kept:
        if (kept[p.pages % kept_slots] != i) {
          return false;
        }
        kept_seen += p.pages;
        break;
      default:
        return false;
    }
    last_free = p.kind == page_kind::free;
    i += p.pages;
  }
  for (unsigned b = 0; b < bins; ++b) {
    if ((bin_head[b] != 0) != ((bin_map[b / 64] >> (b % 64)) & 1)) {
      return false;
    }
    for (uint32_t f = bin_head[b]; f; f = page_table[f].next) {
      if (page_table[f].kind != page_kind::free || bin_of(page_table[f].pages) != b) {
        return false;
      }
      free_seen -= page_table[f].pages;
    }
  }
  if (free_seen != 0 || kept_seen != kept_pages) {
    return false;
  }
  for (unsigned c = 1; c < size_classes; ++c) {
    for (uint32_t s = partial[c]; s; s = page_table[s].next) {
      if (page_table[s].kind != page_kind::small || page_table[s].full || page_table[s].size_class != c) {
        return false;
      }
    }
  }
  return i == page_count;
}

}  // namespace solaster::memory

#include "framework/memory/memory.hh"

#ifndef SOLASTER_SYSTEM_ALLOCATOR

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "framework/host/direct.hh"
#include "framework/memory/memory_domain.hh"

namespace solaster::memory {

constinit thread_local heap* local_heap = nullptr;
constinit shard_table shards;
constinit locked_arena arena;

namespace {

constinit thread_local failure_injector* injector = nullptr;

constexpr size_t huge_page = size_t(2) << 20;
constexpr size_t shard_bytes_min = size_t(4) << 20;
// The arena is address space that is backed when touched. A host that refuses so much gives less.
constexpr size_t arena_bytes_max = size_t(4) << 30;
constexpr size_t arena_bytes_min = size_t(4) << 20;

struct lock_guard {
  pthread_mutex_t* m;
  explicit lock_guard(pthread_mutex_t* l) noexcept : m(l) { pthread_mutex_lock(m); }
  ~lock_guard() { pthread_mutex_unlock(m); }
};

char* reserve(size_t bytes) noexcept {
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
}

// A number from the start of a small file, or after `key` in it. 0 when there is none.
uint64_t read_number(const char* path, const char* key) noexcept {
  int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return 0;
  }
  char text[2048];
  ssize_t n = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (n <= 0) {
    return 0;
  }
  text[n] = 0;
  const char* at = key ? std::strstr(text, key) : text;
  return at ? std::strtoull(at + (key ? std::strlen(key) : 0), nullptr, 10) : 0;
}

size_t cgroup_left() noexcept {
  uint64_t max = read_number("/sys/fs/cgroup/memory.max", nullptr);
  uint64_t used = read_number("/sys/fs/cgroup/memory.current", nullptr);
  return max == 0 ? SIZE_MAX : max > used ? max - used : 0;
}

// The heap object stands at the start of its own range.
heap* make_heap(void* base, size_t bytes, unsigned id) noexcept {
  heap* h = new (base) heap;
  h->shard = int(id);
  h->init(static_cast<char*>(base), bytes, sizeof(heap));
  return h;
}

int reserve_from_kernel(const solaster_direct& direct, unsigned id, size_t bytes) noexcept {
  solaster_memory_piece pieces[heap::pieces_max];
  uint32_t count = heap::pieces_max;
  void* base = nullptr;
  if (int e = direct.shard_memory(bytes, &base, pieces, &count); e < 0) {
    return -e;
  }
  // Its content is undefined, and the bookkeeping starts as zeros.
  std::memset(base, 0, sizeof(heap) + sizeof(page) + heap::metadata_bytes(bytes));
  heap* h = make_heap(base, bytes, id);
  h->piece_count = count;
  for (uint32_t i = 0; i < count; ++i) {
    h->pieces[i] = {static_cast<char*>(pieces[i].base), pieces[i].length, pieces[i].bus_offset};
  }
  shards.heaps[id] = h;
  return 0;
}

}  // namespace

bool is_enabled() noexcept {
  return true;
}

size_t available_bytes() noexcept {
  if (const solaster_direct* direct = find_direct_interface()) {
    // The arena, the threads' stacks and the page tables come from the same memory.
    uint64_t have = direct->memory_available();
    uint64_t keep = std::min<uint64_t>(have / 8 + (uint64_t(2) << 20), uint64_t(128) << 20);
    return have > keep ? have - keep : 0;
  }
  uint64_t kib = read_number("/proc/meminfo", "MemAvailable:");
  size_t have = kib ? size_t(kib) << 10 : size_t(::sysconf(_SC_AVPHYS_PAGES)) * page_size;
  have = std::min(have, cgroup_left());
  return have - std::min(have / 8, size_t(1536) << 20);
}

int reserve_shards(unsigned n, size_t bytes_per_shard) noexcept {
  size_t bytes = std::max(bytes_per_shard / huge_page * huge_page, shard_bytes_min);
  unsigned have = shards.count.load(std::memory_order_relaxed);
  if (n > max_shards) {
    return EINVAL;
  }
  if (n <= have) {
    return 0;  // a second run in the same process (tests) takes over what is there
  }
  if (const solaster_direct* direct = find_direct_interface()) {
    for (unsigned id = have; id < n; ++id) {
      if (int e = reserve_from_kernel(*direct, id, bytes)) {
        return e;
      }
      shards.count.store(id + 1, std::memory_order_release);
    }
    return 0;
  }
  size_t total = bytes * (n - have) + huge_page;
  char* range = reserve(total);
  if (!range) {
    return ENOMEM;
  }
  // SAFETY: stays inside the reservation, which is a huge page longer than what is used.
  range = reinterpret_cast<char*>((uintptr_t(range) + huge_page - 1) / huge_page * huge_page);
  for (unsigned id = have; id < n; ++id, range += bytes) {
    ::madvise(range, bytes, MADV_HUGEPAGE);  // refused where there are none: no harm
    shards.heaps[id] = make_heap(range, bytes, id);
  }
  shards.count.store(n, std::memory_order_release);
  return 0;
}

void enter_shard(unsigned id) noexcept {
  if (id < shards.count.load(std::memory_order_acquire)) {
    local_heap = shards.heaps[id];
  }
}

void leave_shard() noexcept {
  local_heap = nullptr;
}

void set_wake_hook(void (*wake)(unsigned)) noexcept {
  shards.wake.store(wake, std::memory_order_release);
}

size_t drain_foreign_frees() noexcept {
  heap* h = local_heap;
  return h && h->foreign.load(std::memory_order_relaxed) != 0 ? h->drain_foreign() : 0;
}

bool has_foreign_frees() noexcept {
  heap* h = local_heap;
  return h && h->foreign.load(std::memory_order_relaxed) != 0;
}

bool reclaim_if_low() noexcept {
  heap* h = local_heap;
  if (!h || h->free_pages >= h->low_water_pages || !h->reclaimers) [[likely]] {
    return false;
  }
  if (h->give_kept() && h->free_pages >= h->low_water_pages) {
    return false;
  }
  return h->run_reclaimers(reclaimer::scope::async, (2 * h->low_water_pages - h->free_pages) * page_size);
}

statistics stats() noexcept {
  return local_heap ? local_heap->stats() : arena.stats();
}

statistics stats_of(unsigned id) noexcept {
  return id < shards.count.load(std::memory_order_acquire) ? shards.heaps[id]->stats() : statistics();
}

statistics arena_stats() noexcept {
  return arena.stats();
}

size_t free_bytes() noexcept {
  return local_heap ? (local_heap->free_pages + local_heap->kept_pages) * page_size : arena.stats().free_bytes;
}

size_t total_bytes() noexcept {
  return local_heap ? size_t(local_heap->page_count - local_heap->first_page) * page_size : arena.stats().total_bytes;
}

int find_owner(const void* p) noexcept {
  unsigned n = shards.count.load(std::memory_order_acquire);
  for (unsigned i = 0; i < n; ++i) {
    if (shards.heaps[i]->contains(p)) {
      return int(i);
    }
  }
  return -1;
}

std::span<const dma_piece> dma_pieces() noexcept {
  return local_heap ? std::span<const dma_piece>(local_heap->pieces, local_heap->piece_count)
                    : std::span<const dma_piece>();
}

bool is_valid() noexcept {
  return local_heap ? local_heap->is_valid() : arena.is_valid();
}

reclaimer::reclaimer(function fn, void* arg, scope s) noexcept : _fn(fn), _arg(arg), _scope(s) {
  if (!local_heap) {
    return;  // nobody asks the arena's users
  }
  next = local_heap->reclaimers;
  prev = &local_heap->reclaimers;
  *prev = this;
  if (next) {
    next->prev = &next;
  }
}

reclaimer::~reclaimer() {
  if (prev) {
    *prev = next;
    if (next) {
      next->prev = prev;
    }
  }
}

// ---- the arena ----

// With the lock held, before `_base` is set.
bool locked_arena::make() noexcept {
  for (size_t n = arena_bytes_max; n >= arena_bytes_min; n /= 2) {
    if (char* p = reserve(n)) {
      new (&_heap) heap;
      _heap.init(p, n, 0);
      _bytes = n;
      _base.store(p, std::memory_order_release);
      return true;
    }
  }
  return false;
}

failure_injector::failure_injector(uint64_t nth, bool all) noexcept
    : _heap(std::exchange(local_heap, nullptr)), _nth(nth), _all(all) {
  injector = this;
}

failure_injector::~failure_injector() {
  injector = nullptr;
  local_heap = _heap;
}

void* locked_arena::allocate(size_t n) noexcept {
  if (injector && injector->fails_now()) [[unlikely]] {
    return nullptr;
  }
  lock_guard g(&_lock);
  return _base.load(std::memory_order_relaxed) || make() ? _heap.allocate(n) : nullptr;
}

void* locked_arena::allocate_aligned(size_t n, size_t alignment) noexcept {
  if (injector && injector->fails_now()) [[unlikely]] {
    return nullptr;
  }
  lock_guard g(&_lock);
  return _base.load(std::memory_order_relaxed) || make() ? _heap.allocate_aligned(n, alignment) : nullptr;
}

void locked_arena::release(void* p) noexcept {
  lock_guard g(&_lock);
  _heap.release(p);
}

statistics locked_arena::stats() noexcept {
  lock_guard g(&_lock);
  return _base.load(std::memory_order_relaxed) ? _heap.stats() : statistics();
}

bool locked_arena::is_valid() noexcept {
  lock_guard g(&_lock);
  return !_base.load(std::memory_order_relaxed) || _heap.is_valid();
}

// ---- across ----

void release_foreign(void* p) noexcept {
  if (arena.contains(p)) {
    arena.release(p);
    return;
  }
  int owner = find_owner(p);
  if (owner < 0) [[unlikely]] {
    static constexpr char text[] = "solaster: free() of memory that nobody owns\n";
    (void)!::write(2, text, sizeof text - 1);
    std::abort();
  }
  if (local_heap) {
    ++local_heap->foreign_frees_sent;
  }
  unsigned waiting = shards.heaps[owner]->push_foreign(p);
  if (waiting % foreign_free_wake == 0) {
    if (auto wake = shards.wake.load(std::memory_order_acquire)) {
      wake(unsigned(owner));
    }
  }
}

size_t usable_size_foreign(const void* p) noexcept {
  if (arena.contains(p)) {
    return arena.usable_size(p);
  }
  int owner = find_owner(p);
  return owner < 0 ? 0 : shards.heaps[owner]->usable_size(p);
}

}  // namespace solaster::memory

#else  // SOLASTER_SYSTEM_ALLOCATOR: the C library's malloc, or a sanitizer's

#include <unistd.h>

namespace solaster::memory {

bool is_enabled() noexcept {
  return false;
}
size_t available_bytes() noexcept {
  return size_t(::sysconf(_SC_AVPHYS_PAGES)) * page_size;
}
int reserve_shards(unsigned, size_t) noexcept {
  return 0;
}
void enter_shard(unsigned) noexcept {}
void leave_shard() noexcept {}
void set_wake_hook(void (*)(unsigned)) noexcept {}
size_t drain_foreign_frees() noexcept {
  return 0;
}
bool has_foreign_frees() noexcept {
  return false;
}
bool reclaim_if_low() noexcept {
  return false;
}
statistics stats() noexcept {
  return {};
}
statistics stats_of(unsigned) noexcept {
  return {};
}
statistics arena_stats() noexcept {
  return {};
}
size_t free_bytes() noexcept {
  return 0;
}
size_t total_bytes() noexcept {
  return 0;
}
int find_owner(const void*) noexcept {
  return -1;
}
std::span<const dma_piece> dma_pieces() noexcept {
  return {};
}
bool is_valid() noexcept {
  return true;
}
reclaimer::reclaimer(function fn, void* arg, scope s) noexcept : _fn(fn), _arg(arg), _scope(s) {}
reclaimer::~reclaimer() {}
failure_injector::failure_injector(uint64_t nth, bool all) noexcept : _nth(nth), _all(all) {}
failure_injector::~failure_injector() {}

}  // namespace solaster::memory

#endif

// The memory of a shard, behind malloc and new.
//
// Each shard allocates from one contiguous range of its own, without a lock or an atomic. What a shard frees that
// belongs to another one travels to its owner through a bounded list; the owner is found from the address. Threads that
// are no shard, and everything before the shards exist, use an arena behind a lock, which is never given to a device.
//
// Owns:    the ranges of all shards, for the life of the process.
// Units:   bytes.
// Errors:  out of memory is nullptr from malloc and bad_alloc from new, after the reclaimers were asked; the first one
//          is reported.
// Context: malloc and free: any thread. Everything else: where a line says so.
// Limits:  max_shards; foreign_free_wake: so many foreign frees wake a sleeping owner.
//
// With SOLASTER_SYSTEM_ALLOCATOR (the sanitize mode) the C library's allocator stays in place, and the figures here are
// zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace solaster::memory {

struct heap;

inline constexpr unsigned max_shards = 64;
inline constexpr size_t page_size = 4096;
inline constexpr unsigned foreign_free_wake = 1024;

// One part of a shard's memory that a device sees in one piece. On Linux there are none.
struct dma_piece {
  char* base;
  size_t length;
  uint64_t bus_offset;  // device address = address + bus_offset, modulo 2^64
};

struct statistics {
  uint64_t mallocs = 0;
  uint64_t frees = 0;          // of this shard's memory by this shard
  uint64_t foreign_frees = 0;  // of other memory by this shard: sent away
  uint64_t drained_frees = 0;  // of this shard's memory by others: taken in
  uint64_t large_mallocs = 0;  // those that took whole pages
  uint64_t failed = 0;
  uint64_t reclaims = 0;          // times that the reclaimers were asked
  size_t total_bytes = 0;         // the shard's range, less its bookkeeping
  size_t free_bytes = 0;          // in whole free pages
  size_t largest_free_bytes = 0;  // at least this much in one run of pages

  size_t used_bytes() const noexcept { return total_bytes - free_bytes; }
  uint64_t live_objects() const noexcept { return mallocs - frees - drained_frees; }
};

// Is the allocator of this file the one behind malloc?
bool is_enabled() noexcept;

// ---- start-up, called by smp ----

// What the machine has for shards when --memory is not given: of the host's (or the cgroup's) memory, or what the
// direct interface can give.
size_t available_bytes() noexcept;

// Reserves `shards` ranges of `bytes_per_shard` (rounded down to 2 MiB, at least 4 MiB). Once, by the main thread,
// before enter_shard. Returns 0 or an errno.
[[nodiscard]] int reserve_shards(unsigned shards, size_t bytes_per_shard) noexcept;

// From now on the calling thread allocates from shard `id`'s range. Nothing when no memory was reserved.
void enter_shard(unsigned id) noexcept;
// Back to the arena, before the thread ends. The range stays: objects in it are still freed by whoever holds them.
void leave_shard() noexcept;

// How a shard with many foreign frees waiting is woken (smp knows how); nullptr for none. Called by the freeing thread.
void set_wake_hook(void (*wake)(unsigned shard)) noexcept;

// ---- the running shard ----

// Takes in what others have freed; the reactor calls it every turn and before it sleeps. Returns how many.
size_t drain_foreign_frees() noexcept;
// Whether others have freed something that was not taken in. Any thread.
bool has_foreign_frees() noexcept;
// Asks the reclaimers when free memory is below the low-water mark; the reactor calls it every turn. Returns whether it
// did.
bool reclaim_if_low() noexcept;

// The calling shard's figures; those of a shard by number are read without synchronisation.
statistics stats() noexcept;
statistics stats_of(unsigned shard) noexcept;
// The arena's figures.
statistics arena_stats() noexcept;
// free_bytes of the calling shard: reads one field.
size_t free_bytes() noexcept;
size_t total_bytes() noexcept;

// The shard whose range holds `p`, or -1 (arena, stack, file mapping).
int find_owner(const void* p) noexcept;
// The calling shard's pieces, in address order.
std::span<const dma_piece> dma_pieces() noexcept;

// Walks the whole bookkeeping of the calling thread's heap. Linear: for tests and debug.
bool is_valid() noexcept;

// For tests: while it lives the calling thread's allocations come from the arena, and the `nth` (from 1) fails, and
// with `all` every later one. Not with SOLASTER_SYSTEM_ALLOCATOR.
class failure_injector {
 public:
  explicit failure_injector(uint64_t nth, bool all = false) noexcept;
  failure_injector(const failure_injector&) = delete;
  ~failure_injector();
  bool has_failed() const noexcept { return _failures != 0; }
  // Asked by the arena.
  bool fails_now() noexcept {
    ++_seen;
    bool fails = _seen == _nth || (_all && _seen > _nth);
    _failures += fails;
    return fails;
  }

 private:
  heap* _heap = nullptr;
  uint64_t _nth;
  uint64_t _seen = 0;
  uint64_t _failures = 0;
  bool _all;
};

// Something that can give memory back, such as a cache. It is asked from inside malloc when there is no memory left
// (sync), or from the reactor's turn when little is left (async): a cache that may be in the middle of a change of its
// own asks for async only.
class reclaimer {
 public:
  enum class scope { async, sync };
  // `fn(arg, bytes)` frees up to about `bytes` and returns whether it freed anything. It must not allocate when called
  // as sync.
  using function = bool (*)(void* arg, size_t bytes);

  reclaimer(function fn, void* arg, scope s = scope::async) noexcept;
  reclaimer(const reclaimer&) = delete;
  reclaimer& operator=(const reclaimer&) = delete;
  ~reclaimer();

  scope where() const noexcept { return _scope; }
  bool run(size_t bytes) { return _fn(_arg, bytes); }

  reclaimer* next = nullptr;  // the shard's list
  reclaimer** prev = nullptr;

 private:
  function _fn;
  void* _arg;
  scope _scope;
};

}  // namespace solaster::memory

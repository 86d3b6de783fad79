// Which heap an address or a thread belongs to: the shards' ranges and the arena. Between memory.cc, which sets them
// up, and malloc.cc.
//
// Context: any thread. Ranges are added at start-up and never go away.
#pragma once

#include <pthread.h>

#include <atomic>

#include "framework/memory/memory_heap.hh"

namespace solaster::memory {

// The calling thread's own heap; null for a thread that is no shard.
[[gnu::tls_model("local-exec")]] extern constinit thread_local heap* local_heap;

struct shard_table {
  // Filled from 0 up; `count` is stored last (release), so that an entry below it is complete.
  heap* heaps[max_shards] = {};
  std::atomic<unsigned> count{0};
  std::atomic<void (*)(unsigned)> wake{nullptr};
};
extern constinit shard_table shards;

// The arena, for everyone else. Made on first use.
class locked_arena {
 public:
  void* allocate(size_t n) noexcept;
  void* allocate_aligned(size_t n, size_t alignment) noexcept;
  void release(void* p) noexcept;
  // Context: any thread, without the lock: the range does not change once it is there.
  bool contains(const void* p) const noexcept {
    char* b = _base.load(std::memory_order_acquire);
    return b && uintptr_t(p) - uintptr_t(b) < _bytes;
  }
  size_t usable_size(const void* p) const noexcept { return _heap.usable_size(p); }
  statistics stats() noexcept;
  bool is_valid() noexcept;

 private:
  bool make() noexcept;
  pthread_mutex_t _lock = PTHREAD_MUTEX_INITIALIZER;
  std::atomic<char*> _base{nullptr};
  size_t _bytes = 0;
  union {
    heap _heap;  // alive once _base is set
  };

 public:
  constexpr locked_arena() noexcept : _bytes(0) {}
  ~locked_arena() {}
};
extern constinit locked_arena arena;

// A free of memory that is not the calling thread's.
void release_foreign(void* p) noexcept;
size_t usable_size_foreign(const void* p) noexcept;

}  // namespace solaster::memory

// Many readers or one writer, first come first served. (shared_mutex is another name for it.)
//
// Context: shard-local. Limits: readers_max readers at a time.
#pragma once

#include "framework/sync/semaphore.hh"

namespace solaster {

class rwlock {
  static constexpr size_t readers_max = size_t(1) << 30;
  semaphore _sem{readers_max};

 public:
  future<> read_lock() noexcept { return _sem.wait(1); }
  void read_unlock() noexcept { _sem.signal(1); }
  future<> write_lock() noexcept { return _sem.wait(readers_max); }
  void write_unlock() noexcept { _sem.signal(readers_max); }
  bool try_read_lock() noexcept { return _sem.try_wait(1); }
  bool try_write_lock() noexcept { return _sem.try_wait(readers_max); }

  // The lock is released when the holder dies.
  using holder = semaphore_units;
  future<holder> hold_read_lock() noexcept { return get_units(_sem, 1); }
  future<holder> hold_write_lock() noexcept { return get_units(_sem, readers_max); }
};

using shared_mutex = rwlock;

}  // namespace solaster

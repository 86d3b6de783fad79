// Memory that is set aside for what must not fail: a continuation that is to run whatever happens (a `finally` that
// frees something), a message that takes an object home. When malloc has none left, such an object takes one of the
// blocks that the shard holds back; the reactor refills them when memory is to be had again.
//
// Owns:    the blocks that are set aside. One that was taken is an ordinary object of malloc.
// Limits:  block_count blocks of block_bytes a shard.
// Context: shard-local; a thread that is no shard has no reserve.
#pragma once

#include <cstddef>
#include <new>

namespace solaster::memory {

inline constexpr size_t reserve_block_bytes = 512;
inline constexpr unsigned reserve_block_count = 128;

// An object of malloc, from the reserve if there is no other; null when that is used up too.
void* allocate_or_take_reserved(size_t n) noexcept;
// The shard's thread: fills the reserve up as far as memory goes. Costs a compare when it is full.
void refill_reserve() noexcept;
// Gives the blocks back, before the shard ends.
void release_reserve() noexcept;

// Objects of a class that derives from this may be made when there is no memory left.
struct reserved {
  static void* operator new(size_t n) {
    void* p = allocate_or_take_reserved(n);
    if (!p) [[unlikely]] {
      throw std::bad_alloc();
    }
    return p;
  }
  static void operator delete(void* p) noexcept { ::operator delete(p); }
};

}  // namespace solaster::memory

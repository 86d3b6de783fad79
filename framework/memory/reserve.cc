#include "framework/memory/reserve.hh"

namespace solaster::memory {
namespace {

struct block {
  block* next;
};

struct reserve {
  block* first = nullptr;
  unsigned count = 0;
};
constinit thread_local reserve mine;

[[gnu::noinline]] void* take_reserved(size_t n) noexcept {
  block* b = n <= reserve_block_bytes ? mine.first : nullptr;
  if (b) {
    mine.first = b->next;
    --mine.count;
  }
  return b;
}

[[gnu::noinline]] void refill() noexcept {
  while (mine.count < reserve_block_count) {
    auto* b = static_cast<block*>(::operator new(reserve_block_bytes, std::nothrow));
    if (!b) {
      return;
    }
    b->next = mine.first;
    mine.first = b;
    ++mine.count;
  }
}

}  // namespace

void* allocate_or_take_reserved(size_t n) noexcept {
  void* p = ::operator new(n, std::nothrow);
  return p ? p : take_reserved(n);
}

void refill_reserve() noexcept {
  if (mine.count != reserve_block_count) [[unlikely]] {
    refill();
  }
}

void release_reserve() noexcept {
  while (block* b = mine.first) {
    mine.first = b->next;
    --mine.count;
    ::operator delete(b);
  }
}

}  // namespace solaster::memory

#include "tests/sim/memory.hh"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "net/base/check.hh"

namespace solaster::sim {

counted_memory::~counted_memory() {
  CHECK(_in_use == 0);
}

void* counted_memory::allocate(size_t bytes, size_t align) noexcept {
  if (_left != UINT64_MAX) {
    if (_left == 0) {
      return nullptr;
    }
    --_left;
  }
  align = std::max(align, alignof(std::max_align_t));
  void* p = std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (p) {
    _in_use += bytes;
    _peak = std::max(_peak, _in_use);
    ++_allocations;
  }
  return p;
}

// What is freed is overwritten, so that whoever still reads it reads nonsense.
void counted_memory::deallocate(void* p, size_t bytes, size_t) noexcept {
  CHECK(bytes <= _in_use);
  _in_use -= bytes;
  std::memset(p, 0xdb, bytes);
  asm volatile("" : : "r"(p) : "memory");  // SAFETY: no instruction; it keeps the stores, which free() makes dead
  std::free(p);
}

net::dma_region counted_memory::allocate_dma(size_t bytes, size_t align) noexcept {
  auto* p = static_cast<std::byte*>(allocate(bytes, align));
  return {p, p ? bytes : 0, {p ? uint64_t(p) : UINT64_MAX}};
}
void counted_memory::deallocate_dma(net::dma_region region) noexcept {
  deallocate(region.base, region.length, 1);
}
net::dma_addr counted_memory::translate(const void* p, size_t) noexcept {
  return {uint64_t(p)};
}

}  // namespace solaster::sim

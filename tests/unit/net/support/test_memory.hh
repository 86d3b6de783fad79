// The host's heap as net::memory: counts what is out, can be told to refuse, and checks sizes on the way back.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

#include "net/base/check.hh"
#include "net/base/memory.hh"

namespace solaster::net::testing {

class test_memory : public memory {
 public:
  test_memory() = default;
  ~test_memory() override;  // everything must have come back

  void* allocate(size_t bytes, size_t align) noexcept override;
  void deallocate(void* p, size_t bytes, size_t align) noexcept override;
  dma_region allocate_dma(size_t bytes, size_t align) noexcept override;
  void deallocate_dma(dma_region region) noexcept override;
  dma_addr translate(const void* p, size_t length) noexcept override;

  // From now on so many more allocations succeed; UINT64_MAX: all.
  void fail_after(uint64_t allocations) { _remaining = allocations; }
  size_t live_bytes() const { return _bytes; }
  size_t live_objects() const { return _live.size(); }
  uint64_t allocations() const { return _count; }  // ever made

 private:
  bool refused();
  std::unordered_map<const void*, size_t> _live;
  size_t _bytes = 0;
  uint64_t _count = 0;
  uint64_t _remaining = UINT64_MAX;
};

inline test_memory::~test_memory() {
  if (_live.empty())
    return;
  std::fprintf(stderr, "test_memory: %zu objects, %zu bytes leaked\n", _live.size(), _bytes);
  std::abort();
}

inline bool test_memory::refused() {
  if (_remaining == 0)
    return true;
  if (_remaining != UINT64_MAX)
    --_remaining;
  return false;
}

inline void* test_memory::allocate(size_t bytes, size_t align) noexcept {
  if (refused())
    return nullptr;
  void* p = std::aligned_alloc(align < 16 ? 16 : align, (bytes + 63) / 64 * 64);
  if (!p)
    return nullptr;
  __builtin_memset(p, 0xa5, bytes);
  _live[p] = bytes;
  _bytes += bytes;
  ++_count;
  return p;
}

inline void test_memory::deallocate(void* p, size_t bytes, size_t) noexcept {
  const auto it = _live.find(p);
  CHECK(it != _live.end() && it->second == bytes);
  _live.erase(it);
  _bytes -= bytes;
  __builtin_memset(p, 0xdd, bytes);
  std::free(p);
}

inline dma_region test_memory::allocate_dma(size_t bytes, size_t align) noexcept {
  void* p = allocate(bytes, align);
  if (!p)
    return {};
  return {static_cast<std::byte*>(p), bytes, {reinterpret_cast<uint64_t>(p)}};
}

inline void test_memory::deallocate_dma(dma_region region) noexcept {
  deallocate(region.base, region.length, 64);
}

inline dma_addr test_memory::translate(const void* p, size_t) noexcept {
  return {reinterpret_cast<uint64_t>(p)};
}

}  // namespace solaster::net::testing

// Memory for simulated hosts: the system's, counted, so that a leak and a bound that is passed show.
#pragma once

#include <cstddef>
#include <cstdint>

#include "net/base/memory.hh"

namespace solaster::sim {

class counted_memory final : public net::memory {
 public:
  ~counted_memory() override;
  void* allocate(size_t bytes, size_t align) noexcept override;
  void deallocate(void* p, size_t bytes, size_t align) noexcept override;
  net::dma_region allocate_dma(size_t bytes, size_t align) noexcept override;
  void deallocate_dma(net::dma_region region) noexcept override;
  net::dma_addr translate(const void* p, size_t length) noexcept override;

  size_t in_use() const noexcept { return _in_use; }
  size_t peak() const noexcept { return _peak; }
  uint64_t allocations() const noexcept { return _allocations; }
  // From now on the n-th allocation fails, and all after it. UINT64_MAX: never.
  void fail_after(uint64_t n) noexcept { _left = n; }

 private:
  size_t _in_use = 0;
  size_t _peak = 0;
  uint64_t _allocations = 0;
  uint64_t _left = UINT64_MAX;
};

}  // namespace solaster::sim

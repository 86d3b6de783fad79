// Where net/ takes memory from: the host hands this in. Shard-local, nothing throws.
// Errors: a null pointer (or an empty region) means out of memory, an error like any other.
#pragma once

#include <cstddef>
#include <cstdint>

namespace solaster::net {

// An address as a device sees it. Not a pointer, not a physical address: bus_offset makes the difference.
struct dma_addr {
  uint64_t value = UINT64_MAX;
  constexpr bool reachable() const { return value != UINT64_MAX; }
  constexpr dma_addr operator+(uint64_t n) const { return {value + n}; }
  constexpr bool operator==(const dma_addr&) const = default;
};
inline constexpr dma_addr dma_unreachable{};

// Contiguous for the processor and for the device.
struct dma_region {
  std::byte* base = nullptr;
  size_t length = 0;
  dma_addr bus;
  explicit operator bool() const { return base != nullptr; }
};

class memory {
 public:
  virtual ~memory() = default;
  virtual void* allocate(size_t bytes, size_t align) noexcept = 0;
  virtual void deallocate(void* p, size_t bytes, size_t align) noexcept = 0;
  // For rings and buffers. A host without devices gives ordinary memory and the pointer's value as bus address.
  virtual dma_region allocate_dma(size_t bytes, size_t align) noexcept = 0;
  virtual void deallocate_dma(dma_region region) noexcept = 0;
  // The device's address of [p, p + length) where all of it is reachable and contiguous, else dma_unreachable.
  virtual dma_addr translate(const void* p, size_t length) noexcept = 0;
};

}  // namespace solaster::net

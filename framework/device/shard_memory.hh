// A shard's memory as net/ wants it: the shard's allocator, and what devices see of it.
//
// Owns: nothing. Context: one object per shard, used by it; translate() knows the pieces of all shards, because a
// packet that is sent through another shard's queue stays where it is. Errors: null and empty regions; nothing throws.
#pragma once

#include "net/base/memory.hh"

namespace solaster {

class shard_memory final : public net::memory {
 public:
  // On its shard, at start-up; makes the shard's pieces known to the others.
  shard_memory() noexcept;

  void* allocate(size_t bytes, size_t align) noexcept override;
  void deallocate(void* p, size_t bytes, size_t align) noexcept override;
  net::dma_region allocate_dma(size_t bytes, size_t align) noexcept override;
  void deallocate_dma(net::dma_region region) noexcept override;
  net::dma_addr translate(const void* p, size_t length) noexcept override;

 private:
  uint64_t _last_begin = 0, _last_end = 0, _last_offset = 0;  // the piece that was found last
};

}  // namespace solaster

// Pools of equal buffers that a device can reach, for rings and for headers.
//
// Buffers are cut from regions of memory::allocate_dma; a pool grows by a region at a time up to its limit and never
// shrinks. It outlives its user: release() detaches it, and the last buffer that comes back (the application may hold
// it) frees it.
//
// Owns: regions and control blocks. Borrows: the memory, which outlives every buffer.
// Units: bytes, buffers. Errors: an empty fragment means out of buffers. Context: shard-local; allocates only to grow.
#pragma once

#include <cstdint>
#include <memory>

#include "net/base/memory.hh"
#include "net/packet/buffer.hh"

namespace solaster::net {

struct pool_config {
  uint32_t buffer_size = 2048;  // capacity of each; rounded up to 64
  uint32_t buffers_max = 4096;
  uint32_t buffers_per_region = 64;
  uint32_t low_water = 0;  // low(): fewer than this could still be given out
};

class buffer_pool {
 public:
  // Null: no memory.
  static buffer_pool* make(memory& m, const pool_config& config) noexcept;
  // The user lets go: no further allocate(); what is out comes back later.
  void release() noexcept;
  struct releaser {
    void operator()(buffer_pool* p) const noexcept { p->release(); }
  };

  // A buffer as the fragment [begin, begin + length) of it; only its owner, so it may be grown by prepend and append.
  fragment allocate(uint32_t begin, uint32_t length) noexcept {
    if (!_free && !grow()) [[unlikely]]
      return {};
    buffer* b = _free;
    _free = b->next;
    ++_out;
    return fragment(b, b->data + begin, length);
  }

  uint32_t buffer_size() const noexcept { return _config.buffer_size; }
  uint32_t out() const noexcept { return _out; }      // buffers given out
  uint32_t total() const noexcept { return _total; }  // buffers that exist
  uint32_t available() const noexcept { return (_refused ? _total : _config.buffers_max) - _out; }  // still to be had
  // Time to move what is held to right-sized memory.
  bool low() const noexcept { return available() < _config.low_water; }
  bool is_valid() const noexcept;

 private:
  struct region;
  buffer_pool(memory& m, const pool_config& config) noexcept : _memory(m), _config(config) {}
  bool grow() noexcept;
  void destroy() noexcept;
  static void recycle(buffer* b) noexcept;

  memory& _memory;
  pool_config _config;
  buffer* _free = nullptr;
  region* _regions = nullptr;
  uint32_t _out = 0;
  uint32_t _total = 0;
  bool _refused = false;  // the last attempt to grow found no memory
  bool _released = false;
};

using pool_ptr = std::unique_ptr<buffer_pool, buffer_pool::releaser>;

}  // namespace solaster::net

// The buffers that the kernel receives into, shared by all connections of a shard: io_uring's ring of provided buffers.
//
// What arrives is handed up without a copy when it is large and the pool is at least half full; else it is moved to
// memory of just its size and the buffer goes back to the kernel at once. So ten thousand half requests do not hold ten
// thousand buffers, and at most half of the pool is ever outside.
//
// Spec:    io_uring_setup_buf_ring(3).
// Owns:    the memory. A buffer handed up returns when its last user lets go, which must be before the pool dies or by
// `abandon`. Limits:  count buffers of `bytes`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "framework/memory/temporary_buffer.hh"

struct io_uring;
struct io_uring_buf_ring;

namespace solaster {

class receive_buffers {
 public:
  static constexpr unsigned count = 256;
  static constexpr unsigned bytes = 16384;
  static constexpr unsigned group = 0;
  // Up to this size, copying is cheaper than keeping the buffer away from the kernel.
  static constexpr unsigned copy_max = 1024;

  receive_buffers() noexcept = default;
  receive_buffers(const receive_buffers&) = delete;
  ~receive_buffers();

  // Throws std::system_error or bad_alloc.
  void open(io_uring* ring);
  // Before the ring goes. Buffers that somebody still holds keep the memory alive.
  void close(io_uring* ring) noexcept;

  // The `length` bytes that the kernel put into buffer `id`. May throw bad_alloc, after giving the buffer back.
  temporary_buffer<char> take(unsigned id, unsigned length);
  // Gives back a buffer whose content nobody wants.
  void give_back(unsigned id) noexcept;

 private:
  struct pool;
  pool* _pool = nullptr;
};

}  // namespace solaster

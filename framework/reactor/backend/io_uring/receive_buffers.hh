// The buffers that the kernel receives into, shared by all connections of a shard: io_uring's ring of provided buffers.
//
// Beside the buffers it counts what is received and not read, by all connections together: while that is much, they ask
// for less.
//
// What arrives is handed up without a copy when it is large and the pool is at least half full; else it is moved to
// memory of just its size and the buffer goes back to the kernel at once. So ten thousand half requests do not hold ten
// thousand buffers, and at most half of the pool is ever outside.
//
// Spec:    io_uring_setup_buf_ring(3).
// Owns:    the memory, until the ring is closed and the last buffer that was handed up has come back.
// Limits:  count buffers of `bytes`; unread_max.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "framework/base/check.hh"
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
  // From here on a shard holds much that nobody has read.
  static constexpr size_t unread_max = size_t(count) * bytes;

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

  // ---- what connections hold for their readers ----
  void add_unread(size_t n) noexcept { _unread += n; }
  void remove_unread(size_t n) noexcept {
    DCHECK(n <= _unread);
    _unread -= n;
  }
  size_t unread() const noexcept { return _unread; }
  bool is_crowded() const noexcept { return _unread >= unread_max; }

 private:
  struct pool;
  pool* _pool = nullptr;
  size_t _unread = 0;
};

}  // namespace solaster

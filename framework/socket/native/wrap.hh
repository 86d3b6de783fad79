// Buffers of the framework as fragments of net/, and the other way round, without copying and without an allocation
// each: the little objects in between are kept for reuse by their shard.
//
// Context: shard-local.
#pragma once

#include "framework/memory/temporary_buffer.hh"
#include "net/packet/packet.hh"

namespace solaster::native {

// A fragment's bytes as a buffer; letting go of the buffer lets go of the fragment. Throws bad_alloc.
temporary_buffer<char> to_temporary_buffer(net::fragment f);
// All of a packet: without copying where it is one fragment.
temporary_buffer<char> to_temporary_buffer(net::packet_ptr p);

// Cuts a buffer into fragments of at most `send_chunk` bytes. Memory that devices cannot reach is copied once. Throws
// bad_alloc.
inline constexpr uint32_t send_chunk = 64 << 10;
class fragment_source {
 public:
  fragment_source(temporary_buffer<char> buf, net::memory& m);
  fragment_source(fragment_source&&) = delete;
  // Empty: that was all.
  net::fragment next();
  size_t copied_bytes() const noexcept { return _copied; }
  // All of a buffer that is not empty, at most send_chunk and reachable for devices, as one fragment.
  static net::fragment whole(temporary_buffer<char> buf);

 private:
  net::memory& _memory;
  net::fragment _whole;  // keeps the memory while it is cut
  std::byte* _at;
  size_t _left;
  size_t _copied = 0;
};

// Gives back what was kept for reuse on this shard.
void forget_kept_wrappers() noexcept;

}  // namespace solaster::native

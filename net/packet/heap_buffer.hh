// Right-sized buffers from ordinary memory: for small payloads and for what is held for long.
// Context: shard-local, allocates once (control block and bytes together). Errors: an empty fragment: no memory.
#pragma once

#include <cstdint>
#include <cstring>

#include "net/base/memory.hh"
#include "net/packet/packet.hh"

namespace solaster::net {

// The fragment [headroom, headroom + length) of a new buffer of headroom + length bytes; contents undefined.
fragment make_heap_fragment(memory& m, uint32_t length, uint32_t headroom = 0) noexcept;

// A copy of [p, p + length).
fragment copy_to_heap(memory& m, const std::byte* p, uint32_t length) noexcept;

// Copies bytes [offset, offset + length) of a packet out.
void copy_out_chain(const packet& p, uint32_t offset, std::byte* to, uint32_t length) noexcept;
inline void copy_out(const packet& p, uint32_t offset, std::byte* to, uint32_t length) noexcept {
  if (p.fragment_count() != 1)
    return copy_out_chain(p, offset, to, length);
  DCHECK(offset <= p.size() && length <= p.size() - offset);
  if (length)
    std::memcpy(to, p.front().data() + offset, length);
}

}  // namespace solaster::net

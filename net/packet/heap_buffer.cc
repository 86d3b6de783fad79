#include "net/packet/heap_buffer.hh"

#include <algorithm>
#include <cstring>
#include <new>

namespace solaster::net {
namespace {

constexpr size_t align = alignof(std::max_align_t);
static_assert(sizeof(buffer) % align == 0 || align > alignof(buffer));

size_t allocation(const buffer* b) {
  return sizeof(buffer) + b->capacity;
}

void recycle(buffer* b) noexcept {
  auto* m = static_cast<memory*>(b->owner);
  const size_t bytes = allocation(b);
  b->~buffer();
  m->deallocate(b, bytes, align);
}

}  // namespace

fragment make_heap_fragment(memory& m, uint32_t length, uint32_t headroom) noexcept {
  uint32_t capacity;
  if (__builtin_add_overflow(length, headroom, &capacity))
    return {};
  const size_t bytes = sizeof(buffer) + size_t(capacity);
  void* raw = m.allocate(bytes, align);
  if (!raw)
    return {};
  auto* b = new (raw) buffer;
  // SAFETY: one allocation: the bytes begin behind the control block, `capacity` of them.
  b->data = reinterpret_cast<std::byte*>(b + 1);
  b->capacity = capacity;
  b->charge = uint32_t(bytes);
  b->recycle = &recycle;
  b->owner = &m;
  return fragment(b, b->data + headroom, length);
}

fragment copy_to_heap(memory& m, const std::byte* p, uint32_t length) noexcept {
  fragment f = make_heap_fragment(m, length);
  if (f && length)
    std::memcpy(f.data(), p, length);
  return f;
}

void copy_out_chain(const packet& p, uint32_t offset, std::byte* to, uint32_t length) noexcept {
  DCHECK(offset <= p.size() && length <= p.size() - offset);
  for (uint32_t i = 0; length && i < p.fragment_count(); ++i) {
    const fragment& f = p.frag(i);
    if (offset >= f.size()) {
      offset -= f.size();
      continue;
    }
    const uint32_t n = std::min(f.size() - offset, length);
    if (n)
      std::memcpy(to, f.data() + offset, n);
    to += n;
    offset = 0;
    length -= n;
  }
}

}  // namespace solaster::net

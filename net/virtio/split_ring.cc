#include "net/virtio/split_ring.hh"

#include <cstring>
#include <new>

namespace solaster::net::virtio {

namespace {

// Where the three areas lie in one region (2.7: alignment 16, 2 and 4).
struct layout {
  size_t avail, used, total;
  explicit layout(size_t size)
      : avail(size * sizeof(ring_desc)),
        used((avail + sizeof(ring_avail) + 2 * size + 2 + 63) & ~size_t(63)),  // on a cache line of its own
        total(used + sizeof(ring_used) + sizeof(ring_used_elem) * size + 2) {}
};

}  // namespace

result<> split_ring::init(memory& m, uint16_t size, bool event_idx) noexcept {
  CHECK(!_memory);
  if (size == 0 || (size & (size - 1)) != 0 || size > ring_size_max)
    return errc::inval;
  layout l(size);
  dma_region region = m.allocate_dma(l.total, 4096);
  if (!region)
    return errc::nomem;
  void* slots = m.allocate(sizeof(slot) * size, alignof(slot));
  if (!slots) {
    m.deallocate_dma(region);
    return errc::nomem;
  }
  _memory = &m;
  _region = region;
  memset(region.base, 0, l.total);
  // SAFETY: the region is fresh, zeroed, large and aligned enough for each area.
  _desc = reinterpret_cast<ring_desc*>(region.base);
  _avail = reinterpret_cast<ring_avail*>(region.base + l.avail);
  _used = reinterpret_cast<ring_used*>(region.base + l.used);
  _slots = static_cast<slot*>(slots);
  _size = size;
  _mask = uint16_t(size - 1);
  for (uint16_t i = 0; i < size; ++i) {
    new (&_slots[i]) slot;
    _slots[i].next = uint16_t(i + 1);
  }
  _free_count = size;
  _event_idx = event_idx;
  disarm();
  return {};
}

void split_ring::release() noexcept {
  if (!_memory)
    return;
  _memory->deallocate(_slots, sizeof(slot) * _size, alignof(slot));
  _memory->deallocate_dma(_region);
  _memory = nullptr;
  _size = _free_count = 0;
  _broken = true;
}

queue_addresses split_ring::addresses() const noexcept {
  layout l(_size);
  return {_region.bus, _region.bus + l.avail, _region.bus + l.used};
}

void* split_ring::take_back() noexcept {
  _broken = true;
  for (uint16_t i = 0; i < _size; ++i) {
    if (void* token = _slots[i].token) {
      free_chain(i);
      return token;
    }
  }
  return nullptr;
}

bool split_ring::is_valid() const noexcept {
  // The free list holds exactly the descriptors that no chain holds.
  uint32_t held = 0;
  for (uint16_t i = 0; i < _size; ++i) {
    if (_slots[i].token)
      held += _slots[i].count;
  }
  uint16_t walked = 0;
  for (uint16_t i = _free_head; walked < _free_count; i = _slots[i].next, ++walked) {
    if (i >= _size || _slots[i].token)
      return false;
  }
  return held + _free_count == _size;
}

}  // namespace solaster::net::virtio

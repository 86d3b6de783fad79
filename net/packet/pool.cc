#include "net/packet/pool.hh"

#include <algorithm>
#include <new>

namespace solaster::net {

struct buffer_pool::region {
  dma_region dma;
  buffer* blocks = nullptr;
  uint32_t count = 0;
  region* next = nullptr;
};

buffer_pool* buffer_pool::make(memory& m, const pool_config& config) noexcept {
  pool_config c = config;
  c.buffer_size = (std::max(c.buffer_size, 64u) + 63) & ~63u;
  c.buffers_per_region = std::clamp(c.buffers_per_region, 1u, std::max(c.buffers_max, 1u));
  void* raw = m.allocate(sizeof(buffer_pool), alignof(buffer_pool));
  return raw ? new (raw) buffer_pool(m, c) : nullptr;
}

void buffer_pool::release() noexcept {
  CHECK(!_released);
  _released = true;
  if (_out == 0)
    destroy();
}

bool buffer_pool::grow() noexcept {
  const uint32_t count = std::min(_config.buffers_per_region, _config.buffers_max - _total);
  if (count == 0)
    return false;
  const size_t bytes = size_t(count) * _config.buffer_size;
  // One allocation holds the region's head and its control blocks; they stay out of the device's reach.
  const size_t head = sizeof(region) + size_t(count) * sizeof(buffer);
  void* raw = _memory.allocate(head, alignof(region));
  dma_region dma = raw ? _memory.allocate_dma(bytes, 64) : dma_region{};
  _refused = !dma;
  if (!dma) {
    if (raw)
      _memory.deallocate(raw, head, alignof(region));
    return false;
  }
  // SAFETY: one allocation of `head` bytes: the control blocks, aligned no more than the region, stand behind it.
  static_assert(alignof(buffer) <= alignof(region) && sizeof(region) % alignof(buffer) == 0);
  auto* r = new (raw) region{
      .dma = dma, .blocks = reinterpret_cast<buffer*>(static_cast<region*>(raw) + 1), .count = count, .next = _regions};
  _regions = r;
  for (uint32_t i = count; i-- > 0;) {
    auto* b = new (&r->blocks[i]) buffer;
    b->data = dma.base + size_t(i) * _config.buffer_size;
    b->capacity = _config.buffer_size;
    b->charge = _config.buffer_size + sizeof(buffer);
    b->bus = dma.bus.reachable() ? dma.bus + size_t(i) * _config.buffer_size : dma_unreachable;
    b->recycle = &recycle;
    b->owner = this;
    b->next = _free;
    _free = b;
  }
  _total += count;
  return true;
}

void buffer_pool::recycle(buffer* b) noexcept {
  auto* self = static_cast<buffer_pool*>(b->owner);
  b->next = self->_free;
  self->_free = b;
  if (--self->_out == 0 && self->_released) [[unlikely]]
    self->destroy();
}

void buffer_pool::destroy() noexcept {
  memory& m = _memory;
  for (region* r = _regions; r;) {
    region* next = r->next;
    m.deallocate_dma(r->dma);
    m.deallocate(r, sizeof(region) + size_t(r->count) * sizeof(buffer), alignof(region));
    r = next;
  }
  this->~buffer_pool();
  m.deallocate(this, sizeof(buffer_pool), alignof(buffer_pool));
}

bool buffer_pool::is_valid() const noexcept {
  uint32_t free = 0, total = 0;
  for (buffer* b = _free; b; b = b->next) {
    if (b->refs != 0 || b->owner != this || ++free > _total)
      return false;
  }
  for (region* r = _regions; r; r = r->next)
    total += r->count;
  return total == _total && free + _out == _total && _total <= _config.buffers_max;
}

}  // namespace solaster::net

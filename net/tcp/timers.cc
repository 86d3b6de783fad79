#include "net/tcp/timers.hh"

#include <algorithm>
#include <bit>
#include <new>

#include "net/tcp/connection.hh"

namespace solaster::net::tcp {

timer_heap::~timer_heap() {
  CHECK(_size == 0);
  if (_entries) {
    _memory.deallocate(_entries, _capacity * sizeof(entry), alignof(entry));
  }
}

bool timer_heap::reserve(uint32_t connections) noexcept {
  if (connections <= _capacity) {
    return true;
  }
  const uint32_t capacity = std::bit_ceil(std::max(connections, 64u));
  auto* entries = static_cast<entry*>(_memory.allocate(capacity * sizeof(entry), alignof(entry)));
  if (!entries) {
    return false;
  }
  std::uninitialized_copy_n(_entries, _size, entries);
  if (_entries) {
    _memory.deallocate(_entries, _capacity * sizeof(entry), alignof(entry));
  }
  _entries = entries;
  _capacity = capacity;
  return true;
}

void timer_heap::set(connection& c, instant at) noexcept {
  c.entry_at = at;
  uint32_t index = c.heap_index;
  if (index == connection::not_in_heap) {
    CHECK(_size < _capacity);
    index = _size++;
    sift_up(index, {at, &c});
    return;
  }
  if (at < _entries[index].at) {
    sift_up(index, {at, &c});
  } else {
    sift_down(index, {at, &c});
  }
}

void timer_heap::remove(connection& c) noexcept {
  const uint32_t index = c.heap_index;
  c.entry_at = instant::never();
  if (index == connection::not_in_heap) {
    return;
  }
  c.heap_index = connection::not_in_heap;
  const entry last = _entries[--_size];
  if (index == _size) {
    return;
  }
  if (index > 0 && last.at < _entries[(index - 1) / 2].at) {
    sift_up(index, last);
  } else {
    sift_down(index, last);
  }
}

bool timer_heap::is_valid() const noexcept {
  for (uint32_t i = 0; i < _size; ++i) {
    const entry& e = _entries[i];
    if (e.owner->heap_index != i || e.owner->entry_at != e.at || (i > 0 && e.at < _entries[(i - 1) / 2].at)) {
      return false;
    }
  }
  return true;
}

void timer_heap::place(uint32_t index, entry e) noexcept {
  _entries[index] = e;
  e.owner->heap_index = index;
}

void timer_heap::sift_up(uint32_t index, entry e) noexcept {
  while (index > 0) {
    const uint32_t parent = (index - 1) / 2;
    if (_entries[parent].at <= e.at) {
      break;
    }
    place(index, _entries[parent]);
    index = parent;
  }
  place(index, e);
}

void timer_heap::sift_down(uint32_t index, entry e) noexcept {
  for (;;) {
    uint32_t child = index * 2 + 1;
    if (child >= _size) {
      break;
    }
    if (child + 1 < _size && _entries[child + 1].at < _entries[child].at) {
      ++child;
    }
    if (e.at <= _entries[child].at) {
      break;
    }
    place(index, _entries[child]);
    index = child;
  }
  place(index, e);
}

}  // namespace solaster::net::tcp

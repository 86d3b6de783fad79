// A ring of fragments: what waits to be acknowledged, and what waits to be read. The first few need no allocation,
// which is all that a request and its reply ever use.
//
// Positions are free-running indices, so that a cursor into the queue stays right while fragments leave at the front.
// Owns: the fragments. Context: shard-local; grows by allocation. Errors: push says false when memory is out.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <new>

#include "net/base/memory.hh"
#include "net/packet/buffer.hh"

namespace solaster::net::tcp {

class fragment_queue {
 public:
  static constexpr uint32_t inline_capacity = 4;

  fragment_queue() noexcept = default;
  fragment_queue(const fragment_queue&) = delete;
  ~fragment_queue() { DCHECK(empty() && _slots == _inline.data()); }

  bool empty() const noexcept { return _head == _tail; }
  uint32_t size() const noexcept { return _tail - _head; }
  // Index of the first, and of the one after the last.
  uint32_t head() const noexcept { return _head; }
  uint32_t tail() const noexcept { return _tail; }
  fragment& at(uint32_t index) noexcept { return _slots[index & _mask]; }
  const fragment& at(uint32_t index) const noexcept { return _slots[index & _mask]; }
  fragment& front() noexcept { return at(_head); }
  fragment& back() noexcept { return at(_tail - 1); }

  uint64_t collect_bytes() const noexcept {
    uint64_t sum = 0;
    for (uint32_t i = _head; i != _tail; ++i) {
      sum += at(i).size();
    }
    return sum;
  }
  // Slots in use hold something, the others hold nothing back.
  bool is_valid() const noexcept {
    if (size() > _mask + 1 || !std::has_single_bit(_mask + 1) || (_mask + 1 == inline_capacity) != is_inline()) {
      return false;
    }
    for (uint32_t i = _head; i != _head + _mask + 1; ++i) {
      if (bool(at(i)) != (i - _head < size())) {
        return false;
      }
    }
    return true;
  }

  // Makes room for n more.
  bool reserve(memory& m, uint32_t n) noexcept { return size() + n <= _mask + 1 || grow(m, n); }
  // After reserve().
  void push(fragment f) noexcept { at(_tail++) = std::move(f); }
  fragment pop() noexcept { return std::move(at(_head++)); }
  void clear(memory& m) noexcept {
    while (!empty()) {
      pop();
    }
    release_slots(m);
  }
  // Gives a grown ring back once it is empty; small ones are kept.
  void shrink(memory& m) noexcept {
    if (empty() && _mask >= shrink_above) {
      release_slots(m);
    }
  }

 private:
  static constexpr uint32_t shrink_above = 256;
  bool is_inline() const noexcept { return _slots == _inline.data(); }

  bool grow(memory& m, uint32_t n) noexcept {
    const uint32_t capacity = std::bit_ceil(size() + n);
    void* raw = m.allocate(capacity * sizeof(fragment), alignof(fragment));
    if (!raw) {
      return false;
    }
    auto* slots = static_cast<fragment*>(raw);
    for (uint32_t i = 0; i < capacity; ++i) {
      new (&slots[i]) fragment;
    }
    const uint32_t mask = capacity - 1;
    for (uint32_t i = _head; i != _tail; ++i) {
      slots[i & mask] = std::move(at(i));
    }
    release_slots(m);
    _slots = slots;
    _mask = mask;
    return true;
  }
  void release_slots(memory& m) noexcept {
    if (_slots == _inline.data()) {
      return;
    }
    m.deallocate(_slots, (_mask + 1) * sizeof(fragment), alignof(fragment));
    _slots = _inline.data();
    _mask = inline_capacity - 1;
  }

  std::array<fragment, inline_capacity> _inline;
  fragment* _slots = _inline.data();
  uint32_t _mask = inline_capacity - 1;
  uint32_t _head = 0;
  uint32_t _tail = 0;
};

}  // namespace solaster::net::tcp

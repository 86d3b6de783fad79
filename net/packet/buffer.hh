// Counted memory that packets and applications share.
//
// A `buffer` is the control block of one piece of memory; a `fragment` is a range of it together with a reference.
// Counts are not atomic: a buffer belongs to the shard that made it, and crosses shards only while uniquely owned,
// going home by message. When the last reference goes, `recycle` gives the memory back to where it came from (a pool,
// an application's object, the heap).
//
// Owns: a fragment owns one reference. Context: shard-local. Errors: none here; makers return empty fragments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "net/base/check.hh"
#include "net/base/memory.hh"

namespace solaster::net {

struct buffer {
  std::byte* data = nullptr;
  uint32_t capacity = 0;
  uint32_t refs = 0;    // live fragments; 0 only inside a pool or within recycle
  uint32_t charge = 0;  // bytes this buffer really pins: what limits are counted in
  dma_addr bus;         // of data[0]; unreachable: ask memory::translate
  void (*recycle)(buffer*) noexcept = nullptr;
  void* owner = nullptr;   // the maker's: its pool, its object
  buffer* next = nullptr;  // the maker's free list
};

class fragment {
 public:
  fragment() noexcept = default;
  // Takes a new reference on `b`. [begin, begin + length) lies in it.
  fragment(buffer* b, std::byte* begin, uint32_t length) noexcept : _buffer(b), _begin(begin), _length(length) {
    ++b->refs;
  }
  fragment(fragment&& o) noexcept
      : _buffer(std::exchange(o._buffer, nullptr)), _begin(o._begin), _length(std::exchange(o._length, 0)) {}
  fragment& operator=(fragment&& o) noexcept {
    if (this != &o) {
      reset();
      _buffer = std::exchange(o._buffer, nullptr);
      _begin = o._begin;
      _length = std::exchange(o._length, 0);
    }
    return *this;
  }
  fragment(const fragment&) = delete;
  fragment& operator=(const fragment&) = delete;
  ~fragment() { reset(); }

  void reset() noexcept {
    if (buffer* b = std::exchange(_buffer, nullptr); b && --b->refs == 0)
      b->recycle(b);
    _length = 0;
  }

  std::byte* data() const noexcept { return _begin; }
  uint32_t size() const noexcept { return _length; }
  bool empty() const noexcept { return _length == 0; }
  explicit operator bool() const noexcept { return _buffer != nullptr; }
  std::span<std::byte> bytes() const noexcept { return {_begin, _length}; }
  buffer* owner() const noexcept { return _buffer; }
  bool unique() const noexcept { return _buffer->refs == 1; }

  // Another reference to bytes [offset, offset + length).
  fragment share(uint32_t offset, uint32_t length) const noexcept {
    DCHECK(offset <= _length && length <= _length - offset);
    return fragment(_buffer, _begin + offset, length);
  }
  fragment share() const noexcept { return share(0, _length); }
  void trim_front(uint32_t n) noexcept {
    DCHECK(n <= _length);
    _begin += n;
    _length -= n;
  }
  void truncate(uint32_t length) noexcept {
    DCHECK(length <= _length);
    _length = length;
  }

  // Bytes of the buffer before and behind this range.
  uint32_t headroom() const noexcept { return uint32_t(_begin - _buffer->data); }
  uint32_t tailroom() const noexcept { return _buffer->capacity - headroom() - _length; }
  void prepend(uint32_t n) noexcept {
    CHECK(n <= headroom());
    _begin -= n;
    _length += n;
  }
  void append(uint32_t n) noexcept {
    CHECK(n <= tailroom());
    _length += n;
  }

  bool is_valid() const noexcept {
    if (!_buffer)
      return _length == 0;
    return _buffer->refs > 0 && _begin >= _buffer->data &&
           uint64_t(_begin - _buffer->data) + _length <= _buffer->capacity;
  }

  dma_addr bus(memory& m) const noexcept {
    return _buffer->bus.reachable() ? _buffer->bus + headroom() : m.translate(_begin, _length);
  }

 private:
  buffer* _buffer = nullptr;
  std::byte* _begin = nullptr;
  uint32_t _length = 0;
};

}  // namespace solaster::net

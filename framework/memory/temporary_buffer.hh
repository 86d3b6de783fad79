// A run of bytes with an owner, for what streams and sockets hand over.
//
// The memory belongs to whoever the buffer's `deleter` says: malloc, a receive ring, a packet. A buffer can be shared
// and cut without copying; every share keeps the whole memory alive, so what is kept for long is better copied by
// `clone()`.
//
// Owns:    its share of the memory.
// Context: shard-local, like its deleter. Allocating constructors and the first share() throw bad_alloc.
#pragma once

#include <algorithm>
#include <compare>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "framework/memory/deleter.hh"

namespace solaster {

template <typename CharType>
class temporary_buffer {
  static_assert(sizeof(CharType) == 1);

 public:
  temporary_buffer() noexcept = default;
  // Fresh memory, not initialised.
  explicit temporary_buffer(size_t size) {
    if (size == 0) {
      return;
    }
    void* p = std::malloc(size);
    if (!p) [[unlikely]] {
      throw std::bad_alloc();
    }
    _data = static_cast<CharType*>(p);
    _size = size;
    _deleter = deleter::from_malloc(p);
  }
  temporary_buffer(CharType* data, size_t size, deleter d) noexcept
      : _data(data), _size(size), _deleter(std::move(d)) {}
  // A copy of [src, src + size).
  temporary_buffer(const CharType* src, size_t size) : temporary_buffer(size) {
    if (size) {
      std::memcpy(_data, src, size);
    }
  }
  temporary_buffer(const temporary_buffer&) = delete;
  temporary_buffer(temporary_buffer&& o) noexcept
      : _data(std::exchange(o._data, nullptr)), _size(std::exchange(o._size, 0)), _deleter(std::move(o._deleter)) {}
  temporary_buffer& operator=(temporary_buffer&& o) noexcept {
    if (this != &o) {
      _data = std::exchange(o._data, nullptr);
      _size = std::exchange(o._size, 0);
      _deleter = std::move(o._deleter);
    }
    return *this;
  }

  // SAFETY (file): CharType is char or unsigned char, which share size, alignment and
  // aliasing. What from_static refers to is not written: its user asked for bytes that others see too.
  static temporary_buffer copy_of(std::string_view s) {
    return temporary_buffer(reinterpret_cast<const CharType*>(s.data()), s.size());
  }
  // Refers to bytes that outlive every user, such as a literal.
  static temporary_buffer from_static(std::string_view s) noexcept {
    return temporary_buffer(reinterpret_cast<CharType*>(const_cast<char*>(s.data())), s.size(), deleter());
  }
  static temporary_buffer aligned(size_t alignment, size_t size) {
    void* p = nullptr;
    if (::posix_memalign(&p, std::max(alignment, sizeof(void*)), size)) {
      throw std::bad_alloc();
    }
    return temporary_buffer(static_cast<CharType*>(p), size, deleter::from_malloc(p));
  }

  const CharType* get() const noexcept { return _data; }
  CharType* get_write() noexcept { return _data; }
  size_t size() const noexcept { return _size; }
  bool empty() const noexcept { return _size == 0; }
  explicit operator bool() const noexcept { return _size != 0; }
  const CharType* begin() const noexcept { return _data; }
  const CharType* end() const noexcept { return _data + _size; }
  CharType operator[](size_t i) const noexcept { return _data[i]; }
  std::string_view view() const noexcept { return {reinterpret_cast<const char*>(_data), _size}; }

  // The same bytes, owned together.
  temporary_buffer share() { return temporary_buffer(_data, _size, _deleter.share()); }
  temporary_buffer share(size_t pos, size_t len) { return temporary_buffer(_data + pos, len, _deleter.share()); }
  // A copy in memory of just the right size.
  temporary_buffer clone() const { return temporary_buffer(static_cast<const CharType*>(_data), _size); }

  // Keep the first `size` bytes; drop the first `n` bytes. Both at most size().
  void trim(size_t size) noexcept { _size = size; }
  void trim_front(size_t n) noexcept {
    _data += n;
    _size -= n;
  }
  // Cuts off and returns the first `n` bytes; this buffer keeps the rest. Shares the memory.
  temporary_buffer split(size_t n) {
    auto head = share(0, n);
    trim_front(n);
    return head;
  }

  // The memory's owner, out of a buffer that is not used any more.
  deleter release() noexcept {
    _data = nullptr;
    _size = 0;
    return std::move(_deleter);
  }

  bool operator==(const temporary_buffer& o) const noexcept { return view() == o.view(); }

 private:
  CharType* _data = nullptr;
  size_t _size = 0;
  deleter _deleter;
};

static_assert(std::is_nothrow_move_constructible_v<temporary_buffer<char>>);

}  // namespace solaster

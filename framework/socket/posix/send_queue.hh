// What a connection has been given to send and Linux has not taken, in order.
//
// Owns:    the buffers, each until its last byte is taken. The kernel may still read those that a request describes:
//          advance() and clear() come when the request has ended; append() may come at any time, for it moves the
//          buffers' owners and not their bytes.
// Context: shard-local. append() throws bad_alloc and has then changed nothing.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <vector>

#include "framework/base/check.hh"
#include "framework/memory/temporary_buffer.hh"

namespace solaster::posix {

class send_queue {
 public:
  bool empty() const noexcept { return _bytes == 0; }
  size_t bytes() const noexcept { return _bytes; }

  void append(temporary_buffer<char> buf) {
    if (!buf.empty()) {
      size_t size = buf.size();
      _buffers.push_back(std::move(buf));
      _bytes += size;
    }
  }
  void append(std::vector<temporary_buffer<char>> bufs) {
    _buffers.reserve(_buffers.size() + bufs.size());
    for (auto& b : bufs) {
      append(std::move(b));
    }
  }

  // Writes down the first pieces; returns how many.
  size_t describe(iovec* pieces, size_t pieces_max) noexcept {
    size_t n = 0;
    for (size_t i = _first; i < _buffers.size() && n < pieces_max; ++i) {
      pieces[n++] = {_buffers[i].get_write(), _buffers[i].size()};
    }
    return n;
  }

  // The first n bytes were taken.
  void advance(size_t n) noexcept {
    CHECK(n <= _bytes);
    _bytes -= n;
    while (n != 0) {
      auto& b = _buffers[_first];
      size_t step = std::min(n, b.size());
      b.trim_front(step);
      n -= step;
      if (b.empty()) {
        b = {};
        ++_first;
      }
    }
    if (_bytes == 0) {
      clear();
    }
    DCHECK(is_valid());
  }
  void clear() noexcept {
    _buffers.clear();
    _first = 0;
    _bytes = 0;
  }

  // From _first on no buffer is empty, and their sizes are _bytes.
  bool is_valid() const noexcept {
    size_t sum = 0;
    for (size_t i = _first; i < _buffers.size(); ++i) {
      if (_buffers[i].empty()) {
        return false;
      }
      sum += _buffers[i].size();
    }
    return sum == _bytes && _first <= _buffers.size();
  }

 private:
  std::vector<temporary_buffer<char>> _buffers;  // those before _first are taken and let go
  size_t _first = 0;
  size_t _bytes = 0;
};

}  // namespace solaster::posix

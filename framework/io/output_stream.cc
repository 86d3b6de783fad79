#include "framework/io/streams.hh"

#include <algorithm>

namespace solaster {

template <typename C>
void output_stream<C>::take_over(output_stream& o) noexcept {
  if (o._in_flight || !o._waiters.empty() || !o._calls.none() || o.is_linked()) {
    internal::die("an output stream was moved while a write was under way");
  }
  _sink = std::move(o._sink);
  _buffer_size = o._buffer_size;
  _buf = std::move(o._buf);
  _fill = std::exchange(o._fill, 0);
  _pending = std::move(o._pending);
  _queued = std::exchange(o._queued, 0);
  _ex = std::move(o._ex);
  _batch_flushes = o._batch_flushes;
  _closed = o._closed;
}

template <typename C>
output_stream<C>::output_stream(output_stream&& o) noexcept {
  take_over(o);
}

template <typename C>
output_stream<C>& output_stream<C>::operator=(output_stream&& o) noexcept {
  if (this != &o) {
    if (_in_flight || !_waiters.empty() || !_calls.none() || !_closing.none()) {
      internal::die("an output stream was overwritten while a write was under way");
    }
    unlink();
    take_over(o);
  }
  return *this;
}

template <typename C>
output_stream<C>::~output_stream() {
  if (_in_flight) {
    internal::die("an output stream was destroyed while a write was under way: await close() first");
  }
}

template <typename C>
void output_stream<C>::seal_fill() {
  if (_fill == 0) {
    return;
  }
  _pending.emplace_back();  // may throw: nothing has changed yet
  _buf.trim(_fill);
  _pending.back() = std::move(_buf);
  _queued += std::exchange(_fill, 0);
}

template <typename C>
void output_stream<C>::append_copy(const char* data, size_t size) {
  size_t first = std::min(size, _buf.size() - _fill);
  if (first) {
    std::memcpy(_buf.get_write() + _fill, data, first);
    _fill += first;
  }
  if (first == size) {
    return;
  }
  seal_fill();
  _buf = temporary_buffer<char>(std::max(_buffer_size, size - first));
  std::memcpy(_buf.get_write(), data + first, size - first);
  _fill = size - first;
}

template <typename C>
void output_stream<C>::append_buffer(temporary_buffer<char> buf) {
  if (buf.size() <= copy_max) {
    append_copy(buf.get(), buf.size());
    return;
  }
  // What is left of the buffer being filled goes on being filled: both halves share the memory.
  temporary_buffer<char> rest;
  if (_fill != 0 && _buf.size() - _fill >= copy_max) {
    rest = _buf.share(_fill, _buf.size() - _fill);
  }
  seal_fill();
  if (rest) {
    _buf = std::move(rest);
  }
  _queued += buf.size();
  _pending.push_back(std::move(buf));
}

// What was written is in the queue: send when there is enough of it, hold the writer back when there is too much.
template <typename C>
future<> output_stream<C>::after_append() noexcept {
  if (queued() >= _buffer_size && !_in_flight) {
    start_put();
  }
  if (_ex) [[unlikely]] {
    return make_exception_future<>(_ex);
  }
  if (_in_flight && queued() >= _buffer_size * output_queue_factor) [[unlikely]] {
    return futurize_invoke([this] { return wait_for_put(); });
  }
  return make_ready_future<>();
}

template <typename C>
future<> output_stream<C>::write_slow(const char* data, size_t size) noexcept {
  if (_ex) {
    return make_exception_future<>(_ex);
  }
  try {
    append_copy(data, size);
  } catch (...) {
    return make_exception_future<>(std::current_exception());
  }
  return after_append();
}

template <typename C>
future<> output_stream<C>::write(temporary_buffer<char> buf) noexcept {
  if (_ex) {
    return make_exception_future<>(_ex);
  }
  try {
    append_buffer(std::move(buf));
  } catch (...) {
    return make_exception_future<>(std::current_exception());
  }
  return after_append();
}

template <typename C>
future<> output_stream<C>::write(std::vector<temporary_buffer<char>> bufs) noexcept {
  if (_ex) {
    return make_exception_future<>(_ex);
  }
  try {
    for (auto& b : bufs) {
      append_buffer(std::move(b));
    }
  } catch (...) {
    return make_exception_future<>(std::current_exception());
  }
  return after_append();
}

template <typename C>
void output_stream<C>::start_put() noexcept {
  unlink();
  _flush_again = false;
  future<> f = make_ready_future<>();
  try {
    seal_fill();
    if (_pending.empty()) {
      return;
    }
    _queued = 0;
    if (_pending.size() == 1) {
      auto one = std::move(_pending.front());
      _pending.clear();
      f = _sink.put(std::move(one));
    } else {
      f = _sink.put(std::exchange(_pending, {}));
    }
  } catch (...) {
    f = make_exception_future<>(std::current_exception());
  }
  if (f.available()) [[likely]] {
    if (f.failed()) {
      put_done(f.get_exception());
    }
    return;
  }
  _in_flight = true;
  (void)f.then_wrapped([this](future<> done) noexcept {
    _in_flight = false;
    put_done(done.failed() ? done.get_exception() : nullptr);
  });
}

// With _in_flight false again, or never set.
template <typename C>
void output_stream<C>::put_done(std::exception_ptr ex) noexcept {
  if (ex) {
    _ex = std::move(ex);
    _pending.clear();
    _queued = 0;
    _fill = 0;
    unlink();
  } else if (_flush_again || queued() >= _buffer_size) {
    start_put();
  }
  for (auto& w : _waiters) {
    _ex ? w.set_exception(_ex) : w.set_value();
  }
  _waiters.clear();
}

// Resolves when the put under way ends, with its failure. There may be several of these: a writer that was given up
// still stands here when close() comes.
template <typename C>
future<> output_stream<C>::wait_for_put() {
  return _waiters.emplace_back().get_future();
}

// Resolves when everything was taken by the sink.
template <typename C>
future<> output_stream<C>::settle() {
  while (!_ex && (_in_flight || queued() != 0)) {
    if (!_in_flight) {
      start_put();
      continue;
    }
    _flush_again = true;
    (co_await coroutine::as_future(wait_for_put())).ignore_ready_future();
  }
  if (_ex) {
    co_await coroutine::exception(_ex);
  }
}

template <typename C>
void output_stream<C>::poll_flush() noexcept {
  if (_in_flight) {
    _flush_again = true;
  } else {
    start_put();
  }
}

template <typename C>
future<> output_stream<C>::flush() noexcept {
  if (_ex) {
    return make_exception_future<>(_ex);
  }
  if (_batch_flushes) {
    if (_in_flight) {
      _flush_again = true;
    } else if (queued() != 0) {
      link();
    }
    return make_ready_future<>();
  }
  if (!_in_flight) {
    start_put();
    if (!_in_flight) {
      return _ex ? make_exception_future<>(_ex) : _sink.flush();
    }
  }
  return flush_slow();
}

template <typename C>
future<> output_stream<C>::flush_slow() {
  internal::calls_under_way::call mine(_calls);
  co_await settle();
  co_await _sink.flush();
}

template <typename C>
future<> output_stream<C>::close_slow() {
  internal::calls_under_way::call mine(_closing);
  auto sent = co_await coroutine::as_future(settle());
  unlink();
  auto closed = co_await coroutine::as_future(_sink.close());
  co_await _calls.ended();  // a flush that was given up
  if (sent.failed()) {
    closed.ignore_ready_future();
    co_await coroutine::exception(sent.get_exception());
  }
  co_await std::move(closed);
}

template <typename C>
future<> output_stream<C>::close() noexcept {
  if (!_sink) {
    return make_ready_future<>();
  }
  if (std::exchange(_closed, true)) {
    return futurize_invoke([this] { return _closing.ended(); });
  }

  return close_slow();
}

template class output_stream<char>;

}  // namespace solaster

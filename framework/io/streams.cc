#include "framework/io/streams.hh"

#include <algorithm>

namespace solaster {

// ---- ends ----

future<temporary_buffer<char>> data_source::get() noexcept {
  try {
    return _impl->get();
  } catch (...) {
    return make_exception_future<temporary_buffer<char>>(std::current_exception());
  }
}

future<> data_source::close() noexcept {
  try {
    return _impl->close();
  } catch (...) {
    return make_exception_future<>(std::current_exception());
  }
}

future<> data_sink::put(std::vector<temporary_buffer<char>> bufs) noexcept {
  try {
    return _impl->put(std::move(bufs));
  } catch (...) {
    return make_exception_future<>(std::current_exception());
  }
}

future<> data_sink::put(temporary_buffer<char> buf) noexcept {
  try {
    return _impl->put(std::move(buf));
  } catch (...) {
    return make_exception_future<>(std::current_exception());
  }
}

future<> data_sink::flush() noexcept {
  try {
    return _impl->flush();
  } catch (...) {
    return make_exception_future<>(std::current_exception());
  }
}

future<> data_sink::close() noexcept {
  try {
    return _impl->close();
  } catch (...) {
    return make_exception_future<>(std::current_exception());
  }
}

// ---- batched flushes ----

namespace internal {

namespace {
constinit thread_local batch_flush_hook* to_flush = nullptr;
}

void batch_flush_hook::link() noexcept {
  if (_prev) {
    return;
  }
  _next = to_flush;
  _prev = &to_flush;
  if (_next) {
    _next->_prev = &_next;
  }
  to_flush = this;
}

void batch_flush_hook::unlink() noexcept {
  if (!_prev) {
    return;
  }
  *_prev = _next;
  if (_next) {
    _next->_prev = _prev;
  }
  _next = nullptr;
  _prev = nullptr;
}

bool poll_batch_flushes() noexcept {
  if (!to_flush) [[likely]] {
    return false;
  }
  while (batch_flush_hook* h = to_flush) {
    h->unlink();
    h->poll_flush();
  }
  return true;
}

}  // namespace internal

// ---- input ----

template <typename C>
future<temporary_buffer<char>> input_stream<C>::read_from_source() noexcept {
  auto f = _source.get();
  if (f.available() && !f.failed()) [[likely]] {
    auto buf = f.get();
    _eof = buf.empty();
    return make_ready_future<temporary_buffer<char>>(std::move(buf));
  }
  return f.then([this](temporary_buffer<char> buf) {
    _eof = buf.empty();
    return buf;
  });
}

template <typename C>
future<temporary_buffer<char>> input_stream<C>::read_exactly_slow(size_t n) {
  temporary_buffer<char> whole(n);
  size_t have = 0;
  while (have < n) {
    auto buf = co_await read();
    if (buf.empty()) {
      whole.trim(have);
      break;
    }
    if (have == 0 && buf.size() >= n) {
      auto head = buf.share(0, n);
      buf.trim_front(n);
      unread(std::move(buf));
      co_return head;
    }
    size_t take = std::min(n - have, buf.size());
    std::memcpy(whole.get_write() + have, buf.get(), take);
    have += take;
    buf.trim_front(take);
    unread(std::move(buf));
  }
  co_return whole;
}

template <typename C>
future<temporary_buffer<char>> input_stream<C>::read_exactly(size_t n) noexcept {
  if (n == 0) {
    return make_ready_future<temporary_buffer<char>>();
  }
  if (_buf.size() == n) {
    return make_ready_future<temporary_buffer<char>>(std::move(_buf));
  }
  return read_exactly_slow(n);
}

template <typename C>
future<temporary_buffer<char>> input_stream<C>::read_up_to_slow(size_t n) {
  auto buf = co_await read();
  if (buf.size() > n) {
    auto head = buf.share(0, n);
    buf.trim_front(n);
    unread(std::move(buf));
    co_return head;
  }
  co_return buf;
}

template <typename C>
future<temporary_buffer<char>> input_stream<C>::read_up_to(size_t n) noexcept {
  return n == 0 ? make_ready_future<temporary_buffer<char>>() : read_up_to_slow(n);
}

template <typename C>
future<> input_stream<C>::skip_slow(uint64_t n) {
  while (n != 0) {
    auto buf = co_await read();
    if (buf.empty()) {
      break;
    }
    size_t take = size_t(std::min<uint64_t>(n, buf.size()));
    buf.trim_front(take);
    n -= take;
    unread(std::move(buf));
  }
}

template <typename C>
future<> input_stream<C>::skip(uint64_t n) noexcept {
  if (n <= _buf.size()) {
    _buf.trim_front(size_t(n));
    return make_ready_future<>();
  }
  return skip_slow(n);
}

// ---- output ----

template <typename C>
void output_stream<C>::take_over(output_stream& o) noexcept {
  if (o._in_flight || o._waiter || o.is_linked()) {
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
    if (_in_flight || _waiter) {
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
    return wait_for_put();
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
  if (_waiter) {
    auto w = std::move(*_waiter);
    _waiter.reset();
    w.set_value();
  }
}

// Resolves when the put under way ends, whatever comes of it.
template <typename C>
future<> output_stream<C>::wait_for_put() {
  if (_waiter) {
    internal::die("two writers on one output stream");
  }
  _waiter.emplace();
  co_await _waiter->get_future();
  if (_ex) {
    co_await coroutine::exception(_ex);
  }
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
    co_await wait_for_put();
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
  return settle().then([this] { return _sink.flush(); });
}

template <typename C>
future<> output_stream<C>::close_slow() {
  auto sent = co_await coroutine::as_future(settle());
  unlink();
  auto closed = co_await coroutine::as_future(_sink.close());
  if (sent.failed()) {
    closed.ignore_ready_future();
    co_await coroutine::exception(sent.get_exception());
  }
  if (closed.failed()) {
    co_await coroutine::exception(closed.get_exception());
  }
}

template <typename C>
future<> output_stream<C>::close() noexcept {
  if (!_sink || _closed) {
    return make_ready_future<>();
  }
  _closed = true;
  return close_slow();
}

template class input_stream<char>;
template class output_stream<char>;

}  // namespace solaster

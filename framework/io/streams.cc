#include "framework/io/streams.hh"

namespace solaster {

// ---- ends. An implementation may throw as well as fail: what a caller sees is a future. ----

future<temporary_buffer<char>> data_source::get() noexcept {
  return futurize_invoke([this] { return _impl->get(); });
}

future<> data_source::close() noexcept {
  return futurize_invoke([this] { return _impl->close(); });
}

future<> data_sink::put(std::vector<temporary_buffer<char>> bufs) noexcept {
  return futurize_invoke([&] { return _impl->put(std::move(bufs)); });
}

future<> data_sink::put(temporary_buffer<char> buf) noexcept {
  return futurize_invoke([&] { return _impl->put(std::move(buf)); });
}

future<> data_sink::flush() noexcept {
  return futurize_invoke([this] { return _impl->flush(); });
}

future<> data_sink::close() noexcept {
  return futurize_invoke([this] { return _impl->close(); });
}

namespace internal {

// ---- calls under way ----

void calls_under_way::leave() noexcept {
  if (--_count != 0) {
    return;
  }
  // Who is told may destroy the stream, but not before this has returned: set_value() calls nobody.
  for (auto& p : _waiting) {
    p.set_value();
  }
  _waiting.clear();
}

future<> calls_under_way::ended() {
  return _count == 0 ? make_ready_future<>() : _waiting.emplace_back().get_future();
}

void calls_under_way::refuse_to_go() noexcept {
  die("a stream was moved or destroyed while a call of it was under way: await close() first");
}

// ---- batched flushes ----

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

}  // namespace solaster

#include "framework/io/streams.hh"

#include <algorithm>

namespace solaster {

template <typename C>
future<temporary_buffer<char>> input_stream<C>::read_exactly_slow(size_t n) {
  internal::calls_under_way::call mine(_calls);
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
  internal::calls_under_way::call mine(_calls);
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
  internal::calls_under_way::call mine(_calls);
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

template <typename C>
future<> input_stream<C>::close() noexcept {
  if (!_source) {
    return make_ready_future<>();
  }
  auto closed = _source.close();
  return _calls.none() ? std::move(closed) : close_slow(std::move(closed));
}

template <typename C>
future<> input_stream<C>::close_slow(future<> closed) {
  auto ended = _calls.ended();
  auto source = co_await coroutine::as_future(std::move(closed));
  co_await std::move(ended);
  co_await std::move(source);
}

template class input_stream<char>;

}  // namespace solaster

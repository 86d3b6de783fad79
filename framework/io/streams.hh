// Byte streams over anything that yields or takes buffers.
//
// A socket (or a file, or a test) implements `data_source_impl` and `data_sink_impl`, which speak in whole buffers and
// copy nothing. `input_stream` lets a program read as much as it needs from the one; `output_stream` gathers small
// writes, passes large ones on by reference, and holds the writer back while too much is under way.
//
// A wait that somebody gave up (with_timeout) goes on: close() waits for it, too, and the socket's shutdown_input(),
// shutdown() and abort() end it. The bytes that a given-up read would have returned are lost.
//
// Owns:    its source or sink, and the buffers in between. A stream is closed (and the future awaited) before it is
//          destroyed.
// Errors:  exceptional futures. An output stream keeps its first error and reports it from every later call.
// Context: shard-local; one reader and one writer at a time. Streams move only while nothing is under way.
// Limits:  output_stream: `output_queue_factor` times the buffer size may be queued before write() waits.
#pragma once

#include <concepts>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "framework/future/coroutine.hh"
#include "framework/future/future.hh"
#include "framework/memory/temporary_buffer.hh"
#include "framework/reactor/turn_hooks.hh"

namespace solaster {

// Where bytes come from.
class data_source_impl {
 public:
  virtual ~data_source_impl() = default;
  // The next bytes, at least one; an empty buffer is the end, which every later call sees, too. A call before the last
  // one's future is resolved is refused (EBUSY).
  virtual future<temporary_buffer<char>> get() = 0;
  // Nothing more is wanted: a get() under way sees the end. May be called more than once.
  virtual future<> close() { return make_ready_future<>(); }
};

class data_source {
 public:
  data_source() noexcept = default;
  explicit data_source(std::unique_ptr<data_source_impl> impl) noexcept : _impl(std::move(impl)) {}

  future<temporary_buffer<char>> get() noexcept;
  future<> close() noexcept;
  explicit operator bool() const noexcept { return bool(_impl); }

 private:
  std::unique_ptr<data_source_impl> _impl;
};

// Where bytes go.
class data_sink_impl {
 public:
  virtual ~data_sink_impl() = default;
  // Takes the buffers over and sends them in order. The future resolves when the sink is ready for the next call, which
  // need not be when the peer has the bytes; not called again before. A sink keeps a buffer until it no longer needs
  // the memory.
  virtual future<> put(std::vector<temporary_buffer<char>> bufs) = 0;
  virtual future<> put(temporary_buffer<char> buf) = 0;
  // Whatever was put is on its way.
  virtual future<> flush() { return make_ready_future<>(); }
  // No more bytes will come: the peer sees the end after what was put, also by a put() that somebody gave up waiting
  // for. Resolves when the sink has taken all of it, or never will.
  virtual future<> close() = 0;
};

class data_sink {
 public:
  data_sink() noexcept = default;
  explicit data_sink(std::unique_ptr<data_sink_impl> impl) noexcept : _impl(std::move(impl)) {}

  future<> put(std::vector<temporary_buffer<char>> bufs) noexcept;
  future<> put(temporary_buffer<char> buf) noexcept;
  future<> flush() noexcept;
  future<> close() noexcept;
  explicit operator bool() const noexcept { return bool(_impl); }

 private:
  std::unique_ptr<data_sink_impl> _impl;
};

// What a consumer answers to the buffer that it was given.
struct continue_consuming {};
struct stop_consuming {
  temporary_buffer<char> unconsumed;
};
struct skip_bytes {
  uint64_t count;
};
using consumption_result = std::variant<continue_consuming, stop_consuming, skip_bytes>;

template <typename C>
concept input_consumer = requires(C c, temporary_buffer<char> b) {
  { c(std::move(b)) } -> std::convertible_to<future<consumption_result>>;
};
template <typename C>
concept direct_input_consumer = requires(C c, temporary_buffer<char> b) {
  { c(std::move(b)) } -> std::convertible_to<consumption_result>;
};

namespace internal {
// The calls of a stream that refer to it and have not come to their end. Whoever made one may have given it up, so that
// close() is the one to wait for them.
class calls_under_way {
 public:
  calls_under_way() noexcept = default;
  calls_under_way(calls_under_way&& o) noexcept { o.check_none(); }
  calls_under_way& operator=(calls_under_way&& o) noexcept {
    check_none();
    o.check_none();
    return *this;
  }
  ~calls_under_way() { check_none(); }

  bool none() const noexcept { return _count == 0; }
  // Resolves when there are none.
  future<> ended();

  // Stands for one call.
  class [[nodiscard]] call {
   public:
    explicit call(calls_under_way& all) noexcept : _all(all) { ++all._count; }
    call(const call&) = delete;
    ~call() { _all.leave(); }

   private:
    calls_under_way& _all;
  };

 private:
  void leave() noexcept;
  void check_none() const noexcept {
    if (_count != 0) [[unlikely]] {
      refuse_to_go();
    }
  }
  [[noreturn]] static void refuse_to_go() noexcept;

  unsigned _count = 0;
  std::vector<promise<>> _waiting;
};
}  // namespace internal

template <typename CharType>
class input_stream {
  static_assert(std::is_same_v<CharType, char>, "streams are of char");

 public:
  input_stream() noexcept = default;
  explicit input_stream(data_source source) noexcept : _source(std::move(source)) {}
  input_stream(input_stream&&) noexcept = default;
  input_stream& operator=(input_stream&&) noexcept = default;

  // What has arrived, at least one byte; empty at the end of the stream, and again whenever it is called there. The
  // wait is the source's: it does not refer to the stream.
  future<temporary_buffer<char>> read() noexcept {
    if (_buf.empty() && _source) {
      return _source.get();
    }
    return make_ready_future<temporary_buffer<char>>(std::move(_buf));
  }
  // Exactly `n` bytes; fewer only at the end of the stream.
  future<temporary_buffer<char>> read_exactly(size_t n) noexcept;
  // At least one and at most `n` bytes; empty at the end.
  future<temporary_buffer<char>> read_up_to(size_t n) noexcept;
  // Passes over `n` bytes, or to the end.
  future<> skip(uint64_t n) noexcept;
  // Gives `consumer` buffer after buffer (an empty one at the end) until it answers stop_consuming, whose rest the next
  // read sees, or until the end.
  template <typename Consumer>
    requires input_consumer<Consumer> || direct_input_consumer<Consumer>
  future<> consume(Consumer& consumer);
  template <typename Consumer>
    requires input_consumer<Consumer> || direct_input_consumer<Consumer>
  future<> consume(Consumer&& consumer) {
    Consumer mine(std::move(consumer));
    co_await consume(mine);
  }
  // Puts bytes back in front of what is read next. At most what the last read returned, and only when nothing is
  // buffered.
  void unread(temporary_buffer<char> buf) noexcept {
    if (!buf.empty()) {
      _buf = std::move(buf);
    }
  }
  // Bytes that have arrived and were not read.
  size_t buffered() const noexcept { return _buf.size(); }

  // Nothing more is wanted: a read under way sees the end. Resolves when no call refers to the stream any more.
  future<> close() noexcept;

 private:
  future<> close_slow(future<> closed);
  future<temporary_buffer<char>> read_exactly_slow(size_t n);
  future<temporary_buffer<char>> read_up_to_slow(size_t n);
  future<> skip_slow(uint64_t n);

  data_source _source;
  temporary_buffer<char> _buf;  // arrived, not read
  internal::calls_under_way _calls;
};

namespace internal {
// A stream whose flush waits for the end of the loop's turn stands in the shard's list of these.
class batch_flush_hook {
 public:
  batch_flush_hook() noexcept = default;
  batch_flush_hook(const batch_flush_hook&) = delete;

 protected:
  ~batch_flush_hook() { unlink(); }
  bool is_linked() const noexcept { return _prev != nullptr; }
  void link() noexcept;
  void unlink() noexcept;
  virtual void poll_flush() noexcept = 0;

 private:
  friend bool poll_batch_flushes() noexcept;
  batch_flush_hook* _next = nullptr;
  batch_flush_hook** _prev = nullptr;  // what points here; null when in no list
};

}  // namespace internal

struct output_stream_options {
  // flush() only notes the wish; all bytes written up to the end of the loop's turn go out together.
  bool batch_flushes = false;
};

template <typename CharType>
class output_stream final : private internal::batch_flush_hook {
  static_assert(std::is_same_v<CharType, char>, "streams are of char");

 public:
  static constexpr size_t default_buffer_size = 8192;
  static constexpr size_t output_queue_factor = 8;
  // Buffers up to this size are copied: cheaper than one more piece to hand to the host.
  static constexpr size_t copy_max = 1024;

  output_stream() noexcept = default;
  explicit output_stream(data_sink sink, size_t buffer_size = default_buffer_size,
                         output_stream_options options = {}) noexcept
      : _sink(std::move(sink)), _buffer_size(buffer_size), _batch_flushes(options.batch_flushes) {}
  output_stream(output_stream&& o) noexcept;
  output_stream& operator=(output_stream&& o) noexcept;
  ~output_stream();

  // The bytes are copied (before the call returns). The future resolves at once unless too much is queued: await it
  // before the next write.
  future<> write(const char* data, size_t size) noexcept {
    if (size <= _buf.size() - _fill && !_ex) [[likely]] {
      if (size != 0) {
        std::memcpy(_buf.get_write() + _fill, data, size);
        _fill += size;
      }
      return make_ready_future<>();
    }
    return write_slow(data, size);
  }
  future<> write(std::string_view s) noexcept { return write(s.data(), s.size()); }
  // The buffer is taken over: copied when small, referenced when large.
  future<> write(temporary_buffer<char> buf) noexcept;
  future<> write(std::vector<temporary_buffer<char>> bufs) noexcept;

  // Sends what was written. With batch_flushes it resolves at once and sending happens at the end of the loop's turn;
  // else when the sink has taken everything.
  future<> flush() noexcept;
  // Flushes, waits until the sink has taken everything, and closes it. Awaited before the stream goes. With a peer that
  // never reads this waits as long as the connection lives: the socket's shutdown() or abort() ends that. Called again
  // (after a close that was given up) it waits for the same end.
  future<> close() noexcept;

  // Bytes written and not yet taken by the sink.
  size_t queued() const noexcept { return _queued + _fill; }
  void set_batch_flushes(bool on) noexcept { _batch_flushes = on; }

 private:
  void poll_flush() noexcept override;
  future<> write_slow(const char* data, size_t size) noexcept;
  void append_copy(const char* data, size_t size);
  void append_buffer(temporary_buffer<char> buf);
  void seal_fill();
  future<> after_append() noexcept;
  future<> wait_for_put();
  future<> settle();
  future<> flush_slow();
  future<> close_slow();
  void start_put() noexcept;
  void put_done(std::exception_ptr ex) noexcept;
  void take_over(output_stream& o) noexcept;

  data_sink _sink;
  size_t _buffer_size = default_buffer_size;
  temporary_buffer<char> _buf;  // being filled: its first _fill bytes are written
  size_t _fill = 0;
  std::vector<temporary_buffer<char>> _pending;  // sealed, in order, before _buf
  size_t _queued = 0;                            // bytes in _pending
  std::exception_ptr _ex;                        // the first failure
  std::vector<promise<>> _waiters;               // for the end of the put under way: a writer, given-up ones, close()
  internal::calls_under_way _calls;              // flushes
  internal::calls_under_way _closing;            // close()
  bool _batch_flushes = false;
  bool _in_flight = false;    // a put is under way: no second one starts
  bool _flush_again = false;  // when it ends, put what has come meanwhile
  bool _closed = false;
};

template <typename CharType>
template <typename Consumer>
  requires input_consumer<Consumer> || direct_input_consumer<Consumer>
future<> input_stream<CharType>::consume(Consumer& consumer) {
  internal::calls_under_way::call mine(_calls);
  for (;;) {
    auto buf = co_await read();
    bool at_end = buf.empty();
    consumption_result r;
    if constexpr (direct_input_consumer<Consumer>) {
      r = consumer(std::move(buf));
    } else {
      r = co_await consumer(std::move(buf));
    }
    if (auto* stop = std::get_if<stop_consuming>(&r)) {
      unread(std::move(stop->unconsumed));
      co_return;
    }
    if (at_end) {
      co_return;
    }
    if (auto* s = std::get_if<skip_bytes>(&r)) {
      co_await skip(s->count);
    }
  }
}

extern template class input_stream<char>;
extern template class output_stream<char>;

}  // namespace solaster

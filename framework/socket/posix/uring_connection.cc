#include "framework/socket/posix/uring_connection.hh"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

namespace solaster::posix {

struct uring_connection::gather {
  static constexpr size_t pieces_max = 64;  // of one request
  std::vector<temporary_buffer<char>> bufs;
  size_t first = 0;  // those before it are sent
  msghdr header{};
  iovec pieces[pieces_max];

  void describe() noexcept {
    size_t n = 0;
    for (size_t i = first; i < bufs.size() && n < pieces_max; ++i, ++n) {
      pieces[n] = {bufs[i].get_write(), bufs[i].size()};
    }
    header.msg_iov = pieces;
    header.msg_iovlen = n;
  }
};

uring_connection::uring_connection(io_uring_backend& backend, descriptor fd) noexcept
    : connection(std::move(fd)),
      _backend(backend),
      _receive([](uring_operation* op, int result, uint32_t flags) noexcept {
        static_cast<operation*>(op)->owner->received(result, flags);
      }),
      _send([](uring_operation* op, int result, uint32_t) noexcept {
        static_cast<operation*>(op)->owner->sent(result);
      }) {
  _receive.owner = this;
  _send.owner = this;
}

uring_connection::~uring_connection() = default;

connection* make_uring_connection(io_uring_backend& backend, descriptor fd) {
  return new uring_connection(backend, std::move(fd));
}

// ---- life ----

void uring_connection::abandon() noexcept {
  _abandoned = true;
  cancel(_receive);
  cancel(_send);
  release_if_done();
}

void uring_connection::release_if_done() noexcept {
  if (_abandoned && !_receive.armed && !_send.armed) {
    delete this;
  }
}

void uring_connection::cancel(operation& op) noexcept {
  if (op.armed && !op.cancelled) {
    op.cancelled = true;
    _backend.cancel(&op);
  }
}

void uring_connection::abort() noexcept {
  auto why = make_error(ECONNABORTED, "connection aborted");
  reset_connection();
  end_input(why);
  end_output(why);
  cancel(_receive);
  cancel(_send);
}

// ---- receiving ----

void uring_connection::arm_receive() noexcept {
  _receive.armed = true;
  _receive.cancelled = false;
  _backend.queue(&_receive, [this](io_uring_sqe* sqe) {
    io_uring_prep_recv_multishot(sqe, fd(), nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = receive_buffers::group;
  });
}

void uring_connection::received(int result, uint32_t flags) noexcept {
  if (!(flags & IORING_CQE_F_MORE)) {
    _receive.armed = false;
  }
  if (flags & IORING_CQE_F_BUFFER) {
    unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
    if (result <= 0 || _input_ended || _abandoned) {
      _backend.buffers().give_back(id);
    } else {
      try {
        arrived(_backend.buffers().take(id, unsigned(result)));
      } catch (...) {
        end_input(std::current_exception());
      }
    }
  }
  if (_abandoned) {
    release_if_done();
    return;
  }
  if (result == 0) {
    end_input(nullptr);
  } else if (result < 0 && result != -ENOBUFS && result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
    end_input(make_error(-result, "receive"));
  }
  // Somebody waits, and the request has ended: it ran out of buffers (there are some again by the time it is handed
  // over), or was taken back before the reader caught up.
  if (_reader && !_receive.armed && !_input_ended) {
    arm_receive();
  }
}

void uring_connection::arrived(temporary_buffer<char> buf) {
  if (_reader) {
    auto reader = std::move(*_reader);
    _reader.reset();
    reader.set_value(std::move(buf));
    return;
  }
  _arrived_bytes += buf.size();
  _arrived.push_back(std::move(buf));
  if (_arrived_bytes >= arrived_max) {
    cancel(_receive);
  }
}

void uring_connection::end_input(std::exception_ptr why) noexcept {
  if (_input_ended) {
    return;
  }
  _input_ended = true;
  _input_error = why;
  if (_reader) {
    auto reader = std::move(*_reader);
    _reader.reset();
    if (why) {
      reader.set_exception(std::move(why));
    } else {
      reader.set_value(temporary_buffer<char>());
    }
  }
}

future<temporary_buffer<char>> uring_connection::get() {
  if (_arrived_next < _arrived.size()) {
    auto buf = std::move(_arrived[_arrived_next++]);
    _arrived_bytes -= buf.size();
    if (_arrived_next == _arrived.size()) {
      _arrived.clear();
      _arrived_next = 0;
    }
    return make_ready_future<temporary_buffer<char>>(std::move(buf));
  }
  if (_input_ended) {
    return _input_error ? make_exception_future<temporary_buffer<char>>(_input_error)
                        : make_ready_future<temporary_buffer<char>>();
  }
  if (_reader) {
    return make_exception_future<temporary_buffer<char>>(make_error(EBUSY, "two readers of one connection"));
  }
  if (!_receive.armed) {
    arm_receive();
  }
  _reader.emplace();
  return _reader->get_future();
}

void uring_connection::shutdown_input() {
  _arrived.clear();
  _arrived_next = 0;
  _arrived_bytes = 0;
  end_input(nullptr);
  _input_error = nullptr;
  cancel(_receive);
}

future<> uring_connection::close_input() {
  shutdown_input();
  return make_ready_future<>();
}

// ---- sending ----

// False: `refusal` says why not.
bool uring_connection::may_send(future<>& refusal) noexcept {
  if (_output_error || _output_closed) [[unlikely]] {
    refusal = make_exception_future<>(_output_error ? _output_error : make_error(EPIPE, "send"));
    return false;
  }
  if (_writer) [[unlikely]] {
    refusal = make_exception_future<>(make_error(EBUSY, "two writers on one connection"));
    return false;
  }
  return true;
}

future<> uring_connection::put(temporary_buffer<char> buf) {
  future<> refusal = make_ready_future<>();
  if (!may_send(refusal) || buf.empty()) {
    return refusal;
  }
  _next = std::move(buf);
  return wait_to_put();
}

future<> uring_connection::put(std::vector<temporary_buffer<char>> bufs) {
  future<> refusal = make_ready_future<>();
  std::erase_if(bufs, [](const temporary_buffer<char>& b) { return b.empty(); });
  if (!may_send(refusal) || bufs.empty()) {
    return refusal;
  }
  _next_list = std::move(bufs);
  return wait_to_put();
}

future<> uring_connection::wait_to_put() {
  if (!_send.armed) [[likely]] {
    start_send();
    return make_ready_future<>();
  }
  _writer.emplace();
  return _writer->get_future();
}

// Queues what is under way, or takes up what comes next.
void uring_connection::start_send() noexcept {
  if (_sending.empty() && (!_gathered || _gathered->bufs.empty())) {
    if (!_next_list.empty()) {
      if (!_gathered) {
        _gathered.reset(new (std::nothrow) gather);
        if (!_gathered) {
          end_output(std::make_exception_ptr(std::bad_alloc()));
          return;
        }
      }
      _gathered->bufs = std::exchange(_next_list, {});
      _gathered->first = 0;
    } else {
      _sending = std::move(_next);
    }
  }
  _send.armed = true;
  _send.cancelled = false;
  // MSG_WAITALL: the kernel goes on after a short send by itself.
  if (!_sending.empty()) {
    _backend.queue(&_send, [this](io_uring_sqe* sqe) {
      io_uring_prep_send(sqe, fd(), _sending.get(), _sending.size(), MSG_NOSIGNAL | MSG_WAITALL);
    });
  } else {
    _gathered->describe();
    _backend.queue(&_send, [this](io_uring_sqe* sqe) {
      io_uring_prep_sendmsg(sqe, fd(), &_gathered->header, MSG_NOSIGNAL | MSG_WAITALL);
    });
  }
}

void uring_connection::advance(size_t n) noexcept {
  if (!_sending.empty()) {
    _sending.trim_front(n);
    if (_sending.empty()) {
      _sending = {};
    }
    return;
  }
  auto& g = *_gathered;
  while (n != 0) {
    auto& b = g.bufs[g.first];
    size_t step = std::min(n, b.size());
    b.trim_front(step);
    n -= step;
    if (b.empty()) {
      b = {};
      ++g.first;
    }
  }
  if (g.first == g.bufs.size()) {
    g.bufs.clear();
  }
}

void uring_connection::sent(int result) noexcept {
  _send.armed = false;
  if (_abandoned) {
    release_if_done();
    return;
  }
  if (result >= 0) [[likely]] {
    advance(size_t(result));
  } else if (result != -EINTR && result != -EAGAIN) {
    end_output(make_error(-result, "send"));
  }
  if (_output_error) {
    // Also when a send that was taken back had sent a part: nothing more will be.
    _sending = {};
    _gathered.reset();
    resolve_closer();
    return;
  }
  bool all_sent = _sending.empty() && (!_gathered || _gathered->bufs.empty());
  if (!all_sent) {
    start_send();
    return;
  }
  if (_writer) {
    start_send();
    if (_writer) {  // it did start
      auto writer = std::move(*_writer);
      _writer.reset();
      writer.set_value();
    }
    return;
  }
  if (_output_closed) {
    tell_end();
  }
  resolve_closer();
}

void uring_connection::resolve_closer() noexcept {
  if (_closer) {
    auto closer = std::move(*_closer);
    _closer.reset();
    closer.set_value();
  }
}

void uring_connection::end_output(std::exception_ptr why) noexcept {
  if (!_output_error) {
    _output_error = why;
  }
  _next = {};
  _next_list.clear();
  if (_writer) {
    auto writer = std::move(*_writer);
    _writer.reset();
    writer.set_exception(why);
  }
  resolve_closer();
}

// The peer sees the end after what was put.
void uring_connection::shutdown_output() {
  _output_closed = true;
  if (!_send.armed) {
    tell_end();
  }
}

void uring_connection::tell_end() noexcept {
  if (!std::exchange(_output_shut, true)) {
    ::shutdown(fd(), SHUT_WR);
  }
}

future<> uring_connection::close_output() {
  shutdown_output();
  if (!_send.armed || _closer) {
    return make_ready_future<>();
  }
  _closer.emplace();
  return _closer->get_future();
}

}  // namespace solaster::posix

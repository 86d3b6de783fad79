#include "framework/socket/posix/uring_connection.hh"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <utility>

namespace solaster::posix {

struct uring_connection::gather {
  static constexpr size_t pieces_max = 64;  // of one request
  msghdr header{};
  iovec pieces[pieces_max];
};

uring_connection::uring_connection(io_uring_backend& backend, descriptor fd) noexcept
    : _backend(backend),
      _fd(std::move(fd)),
      _receive([](uring_operation* op, int result, uint32_t flags) noexcept {
        static_cast<operation*>(op)->owner->received(result, flags);
      }),
      _send([](uring_operation* op, int result, uint32_t) noexcept {
        static_cast<operation*>(op)->owner->sent(result);
      }) {
  _receive.owner = this;
  _send.owner = this;
}

uring_connection::~uring_connection() {
  forget_arrived();
}

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

void uring_connection::end_all(std::exception_ptr why) noexcept {
  end_input(std::move(why));
  _input_over = true;
  cancel(_receive);
  cancel(_send);
}

// ---- receiving ----

void uring_connection::arm_receive() noexcept {
  DCHECK(!_receive.armed && !_input_over);
  _receive.armed = true;
  _receive.cancelled = false;
  _backend.queue(&_receive, [this](io_uring_sqe* sqe) {
    if (_backend.buffers().is_crowded()) {
      io_uring_prep_recv(sqe, fd(), nullptr, receive_buffers::bytes, 0);
    } else {
      io_uring_prep_recv_multishot(sqe, fd(), nullptr, 0, 0);
    }
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = receive_buffers::group;
  });
}

void uring_connection::received(int result, uint32_t flags) noexcept {
  if (!(flags & IORING_CQE_F_MORE)) {
    _receive.armed = false;
  }
  if (flags & IORING_CQE_F_BUFFER) {
    buffer_came(flags >> IORING_CQE_BUFFER_SHIFT, result);
  }
  if (_abandoned) {
    release_if_done();
    return;
  }
  bool passing = result == -ENOBUFS || result == -ECANCELED || result == -EINTR || result == -EAGAIN;
  if (result == 0 || (result < 0 && !passing)) {
    end_input(result == 0 ? hidden_failure() : make_error(-result, "receive"));
    _input_over = true;
  }
  // The request has ended and more is wanted: it ran out of buffers (there are some again by the time it is handed
  // over), was taken back before the reader caught up, or was for one buffer. What nobody wants is received, too, so
  // that the peer is not held up.
  if (!_receive.armed && !_input_over && (_reader || _input_ended)) {
    arm_receive();
  }
}

// Linux tells a failure once, to whichever request comes first. Where that was a send, this one saw the end of the
// stream; null: it is the end.
std::exception_ptr uring_connection::hidden_failure() const noexcept {
  if (_output_error) {
    return _output_error;
  }
  tcp_info info{};
  socklen_t length = sizeof info;
  bool reset =
      _send.armed && ::getsockopt(fd(), IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_CLOSE;
  return reset ? make_error(ECONNRESET, "receive") : nullptr;
}

void uring_connection::buffer_came(unsigned id, int length) noexcept {
  if (length <= 0 || _input_ended || _abandoned) {
    _backend.buffers().give_back(id);
    return;
  }
  try {
    arrived(_backend.buffers().take(id, unsigned(length)));
  } catch (...) {
    end_input(std::current_exception());
  }
}

void uring_connection::arrived(temporary_buffer<char> buf) {
  if (_reader) {
    std::exchange(_reader, std::nullopt)->set_value(std::move(buf));
    return;
  }
  size_t size = buf.size();
  _arrived.push_back(std::move(buf));
  _unread += size;
  _backend.buffers().add_unread(size);
  if (_unread >= unread_max || _backend.buffers().is_crowded()) {
    cancel(_receive);
  }
  DCHECK(is_valid());
}

temporary_buffer<char> uring_connection::take_arrived() noexcept {
  auto buf = std::move(_arrived[_arrived_next++]);
  _unread -= buf.size();
  _backend.buffers().remove_unread(buf.size());
  if (_arrived_next == _arrived.size()) {
    _arrived.clear();
    _arrived_next = 0;
  }
  DCHECK(is_valid());
  return buf;
}

void uring_connection::forget_arrived() noexcept {
  _backend.buffers().remove_unread(std::exchange(_unread, 0));
  _arrived.clear();
  _arrived_next = 0;
}

bool uring_connection::is_valid() const noexcept {
  size_t sum = 0;
  for (size_t i = _arrived_next; i < _arrived.size(); ++i) {
    sum += _arrived[i].size();
  }
  return sum == _unread && !(_reader && sum != 0);
}

void uring_connection::end_input(std::exception_ptr why) noexcept {
  if (_input_ended) {
    return;
  }
  _input_ended = true;
  _input_error = why;
  if (_reader) {
    auto reader = std::exchange(_reader, std::nullopt);
    why ? reader->set_exception(std::move(why)) : reader->set_value(temporary_buffer<char>());
  }
}

future<temporary_buffer<char>> uring_connection::get() {
  if (!_arrived.empty()) {
    return make_ready_future<temporary_buffer<char>>(take_arrived());
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
  return _reader.emplace().get_future();
}

void uring_connection::shutdown_input() {
  forget_arrived();
  end_input(nullptr);
  _input_error = nullptr;
  if (!_receive.armed && !_input_over) {
    arm_receive();
  }
}

// ---- sending ----

void uring_connection::start_send() noexcept {
  iovec first[2];
  size_t n = _output.describe(first, 2);
  if (n > 1 && !_gather) {
    _gather.reset(new (std::nothrow) gather);
    n = _gather ? n : 1;  // without memory for a list they go one by one
  }
  _send.armed = true;
  _send.cancelled = false;
  // MSG_WAITALL: the kernel goes on after a short send by itself.
  constexpr int flags = MSG_NOSIGNAL | MSG_WAITALL;
  _backend.queue(&_send, [&](io_uring_sqe* sqe) {
    if (n == 1) {
      io_uring_prep_send(sqe, fd(), first[0].iov_base, first[0].iov_len, flags);
    } else {
      _gather->header.msg_iov = _gather->pieces;
      _gather->header.msg_iovlen = _output.describe(_gather->pieces, gather::pieces_max);
      io_uring_prep_sendmsg(sqe, fd(), &_gather->header, flags);
    }
  });
}

void uring_connection::sent(int result) noexcept {
  _send.armed = false;
  if (_abandoned) {
    release_if_done();
    return;
  }
  if (result >= 0) [[likely]] {
    took(size_t(result));
  } else if (result != -EINTR && result != -EAGAIN) {
    fail_output(make_error(-result, "send"));
  }
  if (_output.empty() || _output_error) {  // an abort may have come while a part was being sent
    send_ended();
  } else {
    start_send();
  }
}

}  // namespace solaster::posix

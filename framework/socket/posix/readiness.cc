// TCP over a back end that only tells readiness (epoll): system calls that do not block, and waits after EAGAIN.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "framework/reactor/reactor.hh"
#include "framework/reactor/sleep.hh"
#include "framework/socket/posix/connection.hh"

namespace solaster::posix {

namespace {

constexpr size_t read_size = 16384;
// Up to this size what was read is moved to memory of just its size, and the large buffer is used again.
constexpr size_t copy_max = 1024;
constexpr size_t pieces_max = 64;

class readiness_connection final : public connection {
 public:
  explicit readiness_connection(descriptor fd) : connection(descriptor(fd.get())), _poll(fd.get()) { fd.release(); }

  future<temporary_buffer<char>> get() override;
  future<> close_input() override {
    shutdown_input();
    return make_ready_future<>();
  }
  future<> put(temporary_buffer<char> buf) override;
  future<> put(std::vector<temporary_buffer<char>> bufs) override;
  future<> close_output() override {
    shutdown_output();
    return make_ready_future<>();
  }
  void shutdown_input() override {
    _input_closed = true;
    ::shutdown(fd(), SHUT_RD);  // wakes who waits
  }
  void shutdown_output() override {
    if (!std::exchange(_output_closed, true)) {
      ::shutdown(fd(), SHUT_WR);
    }
  }
  void abort() noexcept override {
    _aborted = true;
    reset_connection();
    auto& backend = engine().backend();
    backend.fail(_poll.state(), make_error(ECONNABORTED, "connection aborted"));
  }

 private:
  ~readiness_connection() override { _fd.release(); }  // _poll closes it
  void abandon() noexcept override { delete this; }    // what waits holds a share: nothing does
  future<temporary_buffer<char>> get_slow();
  future<> send_rest(temporary_buffer<char> buf);
  future<> send_rest(std::vector<temporary_buffer<char>> bufs);
  bool read_now(temporary_buffer<char>& out);

  pollable_fd _poll;
  bool _input_closed = false;
  bool _output_closed = false;
  bool _aborted = false;
  bool _drained = false;  // the last read took everything there was
};

// One large buffer for all reads of the shard.
temporary_buffer<char>& scratch() {
  static thread_local temporary_buffer<char> buffer;
  if (buffer.size() != read_size) {
    buffer = temporary_buffer<char>(read_size);
  }
  return buffer;
}

// False: nothing there yet. Throws what recv says.
bool readiness_connection::read_now(temporary_buffer<char>& out) {
  temporary_buffer<char>& room = scratch();
  ssize_t n;
  do {
    n = ::recv(fd(), room.get_write(), read_size, MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    if (errno == EAGAIN) {
      return false;
    }
    throw_error(_aborted ? ECONNABORTED : errno, "receive");
  }
  // A short read emptied the socket: the next one had better wait first, unless the end may have come together with
  // these bytes.
  _drained = size_t(n) < read_size && n != 0 && !(_poll.state().events_known & EPOLLRDHUP);
  if (size_t(n) <= copy_max) {
    out = temporary_buffer<char>(static_cast<const char*>(room.get()), size_t(n));
  } else {
    out = std::move(room);
    out.trim(size_t(n));
  }
  return true;
}

future<temporary_buffer<char>> readiness_connection::get() {
  if (_aborted) {
    return make_exception_future<temporary_buffer<char>>(make_error(ECONNABORTED, "connection aborted"));
  }
  if (_input_closed) {
    return make_ready_future<temporary_buffer<char>>();
  }
  temporary_buffer<char> buf;
  if (!_drained && read_now(buf)) {
    return make_ready_future<temporary_buffer<char>>(std::move(buf));
  }
  return get_slow();
}

future<temporary_buffer<char>> readiness_connection::get_slow() {
  connection_ref keep(this);
  temporary_buffer<char> buf;
  do {
    co_await _poll.readable();
    if (_input_closed) {
      co_return temporary_buffer<char>();
    }
  } while (!read_now(buf));
  co_return buf;
}

int refusal_of(bool aborted, bool closed) noexcept {
  return aborted ? ECONNABORTED : closed ? EPIPE : 0;
}

future<> readiness_connection::put(temporary_buffer<char> buf) {
  if (int e = refusal_of(_aborted, _output_closed)) {
    return make_exception_future<>(make_error(e, "send"));
  }
  ssize_t n;
  do {
    n = ::send(fd(), buf.get(), buf.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno != EAGAIN) {
    return make_exception_future<>(make_error(errno, "send"));
  }
  buf.trim_front(n < 0 ? 0 : size_t(n));
  return buf.empty() ? make_ready_future<>() : send_rest(std::move(buf));
}

future<> readiness_connection::send_rest(temporary_buffer<char> buf) {
  connection_ref keep(this);
  while (!buf.empty()) {
    co_await _poll.writeable();
    if (_aborted) {
      throw_error(ECONNABORTED, "send");
    }
    ssize_t n = ::send(fd(), buf.get(), buf.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      throw_error(errno, "send");
    }
    buf.trim_front(n < 0 ? 0 : size_t(n));
  }
}

future<> readiness_connection::put(std::vector<temporary_buffer<char>> bufs) {
  if (int e = refusal_of(_aborted, _output_closed)) {
    return make_exception_future<>(make_error(e, "send"));
  }
  return send_rest(std::move(bufs));
}

future<> readiness_connection::send_rest(std::vector<temporary_buffer<char>> bufs) {
  connection_ref keep(this);
  size_t first = 0;
  for (;;) {
    while (first < bufs.size() && bufs[first].empty()) {
      bufs[first++] = {};
    }
    if (first == bufs.size()) {
      co_return;
    }
    iovec pieces[pieces_max];
    msghdr header{};
    header.msg_iov = pieces;
    for (size_t i = first; i < bufs.size() && header.msg_iovlen < pieces_max; ++i) {
      pieces[header.msg_iovlen++] = {bufs[i].get_write(), bufs[i].size()};
    }
    ssize_t n = ::sendmsg(fd(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
      co_await _poll.writeable();
      if (_aborted) {
        throw_error(ECONNABORTED, "send");
      }
      continue;
    }
    if (n < 0 && errno != EINTR) {
      throw_error(errno, "send");
    }
    for (size_t left = n < 0 ? 0 : size_t(n); left != 0;) {
      size_t step = std::min(left, bufs[first].size());
      bufs[first].trim_front(step);
      left -= step;
      if (bufs[first].empty()) {
        bufs[first++] = {};
      }
    }
  }
}

class readiness_listener final : public server_socket_impl {
 public:
  readiness_listener(descriptor fd, bool shared) : _shared(shared), _poll(fd.get()) { fd.release(); }
  ~readiness_listener() override {
    if (_shared) {
      forget_listener(local_address());
    }
  }
  future<accept_result> accept() override {
    for (;;) {
      if (_aborted) {
        throw_error(ECONNABORTED, "accept");
      }
      sockaddr_in from{};
      socklen_t length = sizeof from;
      descriptor fd(::accept4(_poll.get(), reinterpret_cast<sockaddr*>(&from), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd) {
        co_return accept_result{make_connected_socket(std::move(fd)), from_kernel(from)};
      }
      int error = errno;
      if (error == EAGAIN) {
        co_await _poll.readable();
      } else if (is_shortage(error)) {
        co_await sleep(accept_pause);
        throw_error(error, "accept");
      } else if (error != EINTR && error != ECONNABORTED) {
        throw_error(error, "accept");
      }
    }
  }
  void abort_accept() override {
    _aborted = true;
    engine().backend().fail(_poll.state(), make_error(ECONNABORTED, "accept"));
  }
  socket_address local_address() const override { return read_local_address(_poll.get()); }

 private:
  bool _shared;
  bool _aborted = false;
  pollable_fd _poll;
};

}  // namespace

connection* make_readiness_connection(descriptor fd) {
  return new readiness_connection(std::move(fd));
}

std::unique_ptr<server_socket_impl> make_readiness_listener(descriptor fd, bool shared) {
  return std::make_unique<readiness_listener>(std::move(fd), shared);
}

future<connected_socket> connect_readiness(descriptor fd, socket_address remote) {
  sockaddr_in to = to_kernel(remote);
  pollable_fd poll(fd.get());
  int raw = fd.release();
  if (::connect(raw, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) {
      throw_error(errno, "connect");
    }
    co_await poll.writeable();
    if (int error = option(raw, SOL_SOCKET, SO_ERROR)) {
      throw_error(error, "connect");
    }
  }
  // The descriptor moves to an owner of its own kind.
  descriptor again(::dup(raw));
  if (!again) {
    throw_error(errno, "dup");
  }
  co_return make_connected_socket(std::move(again));
}

}  // namespace solaster::posix

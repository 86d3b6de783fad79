// A TCP connection over a back end that only tells readiness (epoll): system calls that do not block, and waits after
// EAGAIN.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "framework/reactor/reactor.hh"
#include "framework/socket/posix/connection.hh"
#include "framework/socket/posix/readiness.hh"

namespace solaster::posix {

namespace {

constexpr size_t read_size = 16384;
// Up to this size what was read is moved to memory of just its size, and the large buffer is used again.
constexpr size_t copy_max = 1024;
constexpr size_t pieces_max = 64;

// One large buffer for all reads of the shard.
temporary_buffer<char>& scratch() {
  static thread_local temporary_buffer<char> buffer;
  if (buffer.size() != read_size) {
    buffer = temporary_buffer<char>(read_size);
  }
  return buffer;
}

class readiness_connection final : public connection {
 public:
  explicit readiness_connection(pollable_fd fd) noexcept : _poll(std::move(fd)) {}

  future<temporary_buffer<char>> get() override;
  void shutdown_input() override;
  int fd() const noexcept override { return _poll.get(); }

 private:
  // A coroutine that waits; the last of them to end frees a connection that nobody uses any more.
  class wait {
   public:
    explicit wait(readiness_connection& c) noexcept : _c(c) { ++c._waits; }
    wait(const wait&) = delete;
    ~wait() {
      if (--_c._waits == 0 && _c._abandoned) {
        delete &_c;
      }
    }

   private:
    readiness_connection& _c;
  };

  void abandon() noexcept override;
  void end_all(std::exception_ptr why) noexcept override;

  void end_input(std::exception_ptr why) noexcept;
  future<temporary_buffer<char>> wait_to_read();
  future<> drop_input();
  ssize_t receive(void* to) noexcept;
  bool read_now(temporary_buffer<char>& out);

  void start_send() noexcept override;
  future<> wait_to_send();
  int send_now() noexcept;

  pollable_fd _poll;
  unsigned _waits = 0;
  bool _abandoned = false;
  bool _reading = false;      // somebody waits in wait_to_read()
  bool _dropping = false;     // drop_input() is under way
  bool _input_ended = false;  // readers see the end, or _input_error
  bool _drained = false;      // the last read took everything there was
  std::exception_ptr _input_error;
};

// ---- life ----

void readiness_connection::abandon() noexcept {
  _abandoned = true;
  engine().backend().fail(_poll.state(), make_error(ECONNABORTED, "connection"));
  if (_waits == 0) {
    delete this;
  }
}

void readiness_connection::end_all(std::exception_ptr why) noexcept {
  end_input(why);
  engine().backend().fail(_poll.state(), std::move(why));
}

void readiness_connection::end_input(std::exception_ptr why) noexcept {
  if (!std::exchange(_input_ended, true)) {
    _input_error = std::move(why);
  }
}

// ---- receiving ----

ssize_t readiness_connection::receive(void* to) noexcept {
  ssize_t n;
  do {
    n = ::recv(fd(), to, read_size, MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  return n;
}

// False: nothing there yet. Throws what recv says.
bool readiness_connection::read_now(temporary_buffer<char>& out) {
  temporary_buffer<char>& room = scratch();
  ssize_t n = receive(room.get_write());
  if (n < 0) {
    if (errno == EAGAIN) {
      return false;
    }
    throw_error(errno, "receive");
  }
  if (n == 0 && _output_error) {
    std::rethrow_exception(_output_error);  // no end: the reset was told to the sender
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
  if (_input_ended) {
    return _input_error ? make_exception_future<temporary_buffer<char>>(_input_error)
                        : make_ready_future<temporary_buffer<char>>();
  }
  if (_reading) {
    return make_exception_future<temporary_buffer<char>>(make_error(EBUSY, "two readers of one connection"));
  }
  temporary_buffer<char> buf;
  if (!_drained && read_now(buf)) {
    return make_ready_future<temporary_buffer<char>>(std::move(buf));
  }
  return wait_to_read();
}

future<temporary_buffer<char>> readiness_connection::wait_to_read() {
  wait mine(*this);
  flag_while reading(_reading);
  temporary_buffer<char> buf;
  do {
    auto ready = co_await coroutine::as_future(_poll.readable());
    if (_input_ended) {
      ready.ignore_ready_future();
      if (_input_error) {
        std::rethrow_exception(_input_error);
      }
      co_return temporary_buffer<char>();
    }
    ready.get();
  } while (!read_now(buf));
  co_return buf;
}

void readiness_connection::shutdown_input() {
  if (std::exchange(_input_ended, true)) {
    return;
  }
  wake_reader(_poll.state());
  if (!std::exchange(_dropping, true)) {
    (void)drop_input();
  }
}

// What nobody wants is received, too, so that the peer is not held up.
future<> readiness_connection::drop_input() {
  wait mine(*this);
  while (!_abandoned && !_input_error) {
    ssize_t n = receive(scratch().get_write());
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
      break;
    }
    if (n > 0) {
      co_await coroutine::maybe_yield();
    } else {
      (co_await coroutine::as_future(_poll.readable())).ignore_ready_future();
    }
  }
}

// ---- sending ----

// 0: all is sent. EAGAIN: Linux takes no more now. Else why it takes none at all.
int readiness_connection::send_now() noexcept {
  while (!_output.empty()) {
    iovec pieces[pieces_max];
    msghdr header{};
    header.msg_iov = pieces;
    header.msg_iovlen = _output.describe(pieces, pieces_max);
    ssize_t n = ::sendmsg(fd(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      took(size_t(n));
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

void readiness_connection::start_send() noexcept {
  int error = send_now();
  if (error == EAGAIN) {
    auto sending = wait_to_send();
    if (!sending.failed()) {
      (void)std::move(sending);
      return;
    }
    fail_output(sending.get_exception());  // no memory to wait with
  } else if (error != 0) {
    fail_output(make_error(error, "send"));
  }
  send_ended();
}

future<> readiness_connection::wait_to_send() {
  wait mine(*this);
  int error = EAGAIN;
  while (error == EAGAIN && !_abandoned && !_output_error) {
    (co_await coroutine::as_future(_poll.writeable())).ignore_ready_future();
    if (!_abandoned && !_output_error) {
      error = send_now();
    }
  }
  if (error != 0) {
    fail_output(make_error(error, "send"));  // keeps the reason that there may be
  }
  send_ended();
}

}  // namespace

connection* make_readiness_connection(pollable_fd fd) {
  return new readiness_connection(std::move(fd));
}

}  // namespace solaster::posix

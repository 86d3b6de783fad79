// Accepting over io_uring: one multishot accept for the life of a listener.
#include <sys/socket.h>

#include <cerrno>
#include <deque>
#include <optional>

#include "framework/reactor/backend/io_uring/io_uring.hh"
#include "framework/reactor/timer.hh"
#include "framework/socket/posix/connection.hh"
#include "framework/socket/posix/listener.hh"

namespace solaster::posix {

namespace {

// What the kernel sees of a listener; outlives it until the request has ended.
class acceptor {
 public:
  // So many accepted connections may wait for the program; then the kernel's backlog holds the rest.
  static constexpr size_t waiting_max = 256;

  acceptor(io_uring_backend& backend, listening l) noexcept
      : _backend(backend), _socket(std::move(l)), _request(*this), _pause([this] { arm(); }) {}

  future<accept_result> accept() {
    if (_aborted) {
      return make_exception_future<accept_result>(make_error(ECONNABORTED, "accept"));
    }
    if (_error) {
      return make_exception_future<accept_result>(make_error(std::exchange(_error, 0), "accept"));
    }
    if (!_waiting.empty()) {
      descriptor fd = std::move(_waiting.front());
      _waiting.pop_front();
      return make_ready_future<accept_result>(make_result(std::move(fd)));
    }
    if (_caller) {
      return make_exception_future<accept_result>(make_error(EBUSY, "two accepts at once"));
    }
    if (!_armed && !_pause.armed()) {
      arm();
    }
    _caller.emplace();
    return _caller->get_future();
  }
  void abort_accept() noexcept {
    _aborted = true;
    _waiting.clear();
    _pause.cancel();
    fail_caller(ECONNABORTED);
    cancel();
  }
  // The listener is gone.
  void abandon() noexcept {
    _abandoned = true;
    abort_accept();
    if (!_armed) {
      delete this;
    }
  }
  int fd() const noexcept { return _socket.fd.get(); }

 private:
  struct request : uring_operation {
    explicit request(acceptor& a) noexcept
        : uring_operation([](uring_operation* op, int result, uint32_t flags) noexcept {
            static_cast<request*>(op)->owner.completed(result, flags);
          }),
          owner(a) {}
    acceptor& owner;
  };

  accept_result make_result(descriptor fd) {
    socket_address remote = read_remote_address(fd.get());
    return {make_connected_socket(make_uring_connection(_backend, std::move(fd))), remote};
  }

  void arm() noexcept {
    DCHECK(!_armed && !_aborted);
    _armed = true;
    _cancelled = false;
    _backend.queue(&_request, [this](io_uring_sqe* sqe) {
      io_uring_prep_multishot_accept(sqe, fd(), nullptr, nullptr, SOCK_CLOEXEC);
    });
  }
  void cancel() noexcept {
    if (_armed && !std::exchange(_cancelled, true)) {
      _backend.cancel(&_request);
    }
  }
  void completed(int result, uint32_t flags) noexcept {
    if (!(flags & IORING_CQE_F_MORE)) {
      _armed = false;
    }
    if (result >= 0) {
      accepted(descriptor(result));
    } else if (shortage::is_one(-result)) {
      // The next try would fail too.
      if (!_aborted) {
        _shortage.tell(-result);
        _pause.rearm(shortage::pause);
      }
    } else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN && result != -ECONNABORTED && !_aborted) {
      if (!_caller) {
        _error = -result;
      }
      fail_caller(-result);
    }
    if (_abandoned) {
      if (!_armed) {
        delete this;
      }
      return;
    }
    if (_caller && !_armed && !_pause.armed()) {
      arm();
    }
  }
  void accepted(descriptor fd) noexcept {
    if (_aborted) {
      return;
    }
    try {
      if (_caller) {
        auto result = make_result(std::move(fd));
        auto caller = std::move(*_caller);
        _caller.reset();
        caller.set_value(std::move(result));
        return;
      }
      _waiting.push_back(std::move(fd));
    } catch (...) {
      fail_caller(ENOMEM);
    }
    if (_waiting.size() >= waiting_max) {
      cancel();
    }
  }
  void fail_caller(int error) noexcept {
    if (_caller) {
      auto caller = std::move(*_caller);
      _caller.reset();
      caller.set_exception(make_error(error, "accept"));
    }
  }

  io_uring_backend& _backend;
  listening _socket;
  request _request;
  timer<> _pause;
  shortage _shortage;
  bool _armed = false;
  bool _cancelled = false;
  bool _aborted = false;
  bool _abandoned = false;
  int _error = 0;
  std::deque<descriptor> _waiting;
  std::optional<promise<accept_result>> _caller;
};

class uring_listener final : public server_socket_impl {
 public:
  uring_listener(io_uring_backend& backend, listening l) : _acceptor(new acceptor(backend, std::move(l))) {}
  ~uring_listener() override { _acceptor->abandon(); }
  future<accept_result> accept() override { return _acceptor->accept(); }
  void abort_accept() override { _acceptor->abort_accept(); }
  socket_address local_address() const override { return read_local_address(_acceptor->fd()); }

 private:
  acceptor* _acceptor;
};

}  // namespace

std::unique_ptr<server_socket_impl> make_uring_listener(io_uring_backend& backend, listening l) {
  return std::make_unique<uring_listener>(backend, std::move(l));
}

}  // namespace solaster::posix

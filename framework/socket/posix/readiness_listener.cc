// Accepting over readiness (epoll).
#include <sys/socket.h>

#include <cerrno>

#include "framework/reactor/reactor.hh"
#include "framework/socket/posix/connection.hh"
#include "framework/socket/posix/listener.hh"
#include "framework/socket/posix/readiness.hh"
#include "framework/sync/sleep.hh"

namespace solaster::posix {

namespace {

// What an accept() under way uses; outlives the listener until that has ended.
class acceptor {
 public:
  explicit acceptor(listening l) : _share(std::move(l.share)), _poll(l.fd.get()) { l.fd.release(); }

  static future<accept_result> accept(std::shared_ptr<acceptor> me) {
    if (me->_accepting && !me->_aborted) {
      throw_error(EBUSY, "two accepts at once");
    }
    flag_while accepting(me->_accepting);
    for (;;) {
      if (me->_aborted) {
        throw_error(ECONNABORTED, "accept");
      }
      sockaddr_in from{};
      socklen_t length = sizeof from;
      descriptor fd(::accept4(me->_poll.get(), generic(from), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd) {
        pollable_fd taken(fd.get());
        fd.release();
        co_return accept_result{make_connected_socket(make_readiness_connection(std::move(taken))), from_kernel(from)};
      }
      int error = errno;
      if (error == EAGAIN) {
        auto ready = co_await coroutine::as_future(me->_poll.readable());
        if (!me->_aborted) {
          ready.get();
        } else {
          ready.ignore_ready_future();
        }
      } else if (shortage::is_one(error)) {
        me->_shortage.tell(error);
        (co_await coroutine::as_future(sleep_abortable(shortage::pause, me->_stop))).ignore_ready_future();
      } else if (error != EINTR && error != ECONNABORTED) {
        throw_error(error, "accept");
      }
    }
  }
  void abort() noexcept {
    if (!std::exchange(_aborted, true)) {
      _stop.request_abort();
      wake_reader(_poll.state());
    }
  }
  socket_address local_address() const { return read_local_address(_poll.get()); }
  // The listener is gone, its port free from now on.
  void close() noexcept {
    abort();
    _poll.close();
  }

 private:
  shared_address _share;
  pollable_fd _poll;
  shortage _shortage;
  abort_source _stop;
  bool _aborted = false;
  bool _accepting = false;
};

class readiness_listener final : public server_socket_impl {
 public:
  explicit readiness_listener(listening l) : _acceptor(std::make_shared<acceptor>(std::move(l))) {}
  ~readiness_listener() override { _acceptor->close(); }
  future<accept_result> accept() override { return acceptor::accept(_acceptor); }
  void abort_accept() override { _acceptor->abort(); }
  socket_address local_address() const override { return _acceptor->local_address(); }

 private:
  std::shared_ptr<acceptor> _acceptor;
};

}  // namespace

std::unique_ptr<server_socket_impl> make_readiness_listener(listening l) {
  return std::make_unique<readiness_listener>(std::move(l));
}

}  // namespace solaster::posix

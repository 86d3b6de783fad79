// Opening a connection, over io_uring and over readiness.
#include <sys/socket.h>

#include <cerrno>

#include "framework/reactor/backend/io_uring/io_uring.hh"
#include "framework/reactor/reactor.hh"
#include "framework/socket/posix/connection.hh"
#include "framework/sync/abort_source.hh"

namespace solaster::posix {

namespace {

// A request under way.
struct connector final : uring_operation {
  connector(io_uring_backend& b, descriptor d, const socket_address& remote) noexcept
      : uring_operation(&done), backend(b), fd(std::move(d)), address(to_kernel(remote)) {}
  static void done(uring_operation* op, int result, uint32_t) noexcept {
    std::unique_ptr<connector> me(static_cast<connector*>(op));
    if (me->given_up) {
      result = -ECONNABORTED;
    }
    if (result < 0) {
      me->caller.set_exception(make_error(-result, "connect"));
      return;
    }
    try {
      me->caller.set_value(make_connected_socket(make_uring_connection(me->backend, std::move(me->fd))));
    } catch (...) {
      me->caller.set_exception(std::current_exception());
    }
  }
  io_uring_backend& backend;
  descriptor fd;
  sockaddr_in address;
  promise<connected_socket> caller;
  bool given_up = false;
  std::optional<abort_source::subscription> watch;
};

}  // namespace

future<connected_socket> connect_uring(io_uring_backend& backend, descriptor fd, socket_address remote,
                                       abort_source* giving_up) {
  auto* c = new connector(backend, std::move(fd), remote);
  auto f = c->caller.get_future();
  backend.queue(
      c, [c](io_uring_sqe* sqe) { io_uring_prep_connect(sqe, c->fd.get(), generic(c->address), sizeof c->address); });
  if (giving_up) {
    c->watch = giving_up->subscribe([c]() noexcept {
      c->given_up = true;
      c->backend.cancel(c);
    });
  }
  return f;
}

future<connected_socket> connect_readiness(descriptor fd, socket_address remote, abort_source* giving_up) {
  sockaddr_in to = to_kernel(remote);
  pollable_fd poll(fd.get());
  fd.release();
  if (::connect(poll.get(), generic(to), sizeof to) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) {
      throw_error(errno, "connect");
    }
    bool given_up = false;
    std::optional<abort_source::subscription> watch;
    if (giving_up) {
      watch = giving_up->subscribe([&]() noexcept {
        given_up = true;
        engine().backend().fail(poll.state(), make_error(ECONNABORTED, "connect"));
      });
    }
    co_await poll.writeable();
    if (given_up) {  // after it had become ready
      throw_error(ECONNABORTED, "connect");
    }
    if (int error = option(poll.get(), SOL_SOCKET, SO_ERROR)) {
      throw_error(error, "connect");
    }
  }
  co_return make_connected_socket(make_readiness_connection(std::move(poll)));
}

}  // namespace solaster::posix

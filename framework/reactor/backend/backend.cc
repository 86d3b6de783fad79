#include "framework/reactor/backend/backend.hh"

#include "framework/host/direct.hh"
#include "framework/log/log.hh"
#include "framework/reactor/reactor.hh"

#include <time.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <system_error>

namespace solaster {

static logger backend_log("backend");

int64_t reactor_backend::read_wall_ns() noexcept {
  timespec ts{};
  clock_gettime(CLOCK_REALTIME, &ts);
  return int64_t(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}

std::unique_ptr<pollable_fd_state> reactor_backend::adopt(int) {
  throw std::system_error(ENOTSUP, std::generic_category(), std::string(name()) + " back end: file descriptors");
}

future<> reactor_backend::readable(pollable_fd_state&) {
  return make_exception_future<>(std::system_error(ENOTSUP, std::generic_category()));
}

future<> reactor_backend::writeable(pollable_fd_state&) {
  return make_exception_future<>(std::system_error(ENOTSUP, std::generic_category()));
}

void reactor_backend::fail(pollable_fd_state& s, std::exception_ptr ex) noexcept {
  if (s.waiting_in) {
    s.waiting_in = false;
    s.pollin.set_exception(ex);
  }
  if (s.waiting_out) {
    s.waiting_out = false;
    s.pollout.set_exception(std::move(ex));
  }
}

std::unique_ptr<reactor_backend> make_backend(std::string_view name, unsigned shard) {
  if (name == "guest" || ((name.empty() || name == "auto") && is_guest())) {
    if (!is_guest()) {
      throw std::runtime_error("--reactor-backend guest: this is not a Solaster guest");
    }
    return make_guest_backend(shard);
  }
  if (name == "epoll") {
    return make_epoll_backend(shard);
  }
  if (name == "io_uring") {
    return make_io_uring_backend(shard);
  }
  if (!name.empty() && name != "auto") {
    throw std::runtime_error("--reactor-backend: no such back end (io_uring, epoll, guest): " + std::string(name));
  }
  try {
    return make_io_uring_backend(shard);
  } catch (const std::system_error& e) {
    static std::atomic<bool> said = false;
    if (!said.exchange(true)) {
      backend_log.info("io_uring is not to be had here ({}): using epoll", e.code().message());
    }
    return make_epoll_backend(shard);
  }
}

// ---------------------------------------------------------------- pollable_fd

pollable_fd::pollable_fd(int fd) : _state(engine().backend().adopt(fd)) {}

pollable_fd& pollable_fd::operator=(pollable_fd&& x) noexcept {
  if (this != &x) {
    close();
    _state = std::move(x._state);
  }
  return *this;
}

future<> pollable_fd::readable() {
  return engine().backend().readable(*_state);
}

future<> pollable_fd::writeable() {
  return engine().backend().writeable(*_state);
}

void pollable_fd::close() noexcept {
  if (!_state) {
    return;
  }
  reactor_backend& backend = engine().backend();
  if (_state->waiting_in || _state->waiting_out) {
    backend.fail(*_state, std::make_exception_ptr(std::system_error(ECONNABORTED, std::generic_category())));
  }
  backend.forget(*_state);
  ::close(_state->fd);
  _state.reset();
}

}  // namespace solaster

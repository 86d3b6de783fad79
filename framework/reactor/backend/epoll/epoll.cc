// The back end that every Linux has. Descriptors are registered once, edge-triggered in both directions; an edge that
// comes while nobody waits is remembered in events_known. A caller waits only after its system call said EAGAIN, so an
// edge before that costs at most one more try, and none is lost.
#include "framework/reactor/backend/backend.hh"

#include "framework/log/log.hh"
#include "framework/reactor/backend/preemption_timer.hh"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace solaster {
namespace {

constexpr int events_per_call = 128;
constexpr uint32_t in_events = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
constexpr uint32_t out_events = EPOLLOUT | EPOLLHUP | EPOLLERR;

[[noreturn]] void fail_with(const char* what) {
  throw std::system_error(errno, std::system_category(), what);
}

class epoll_backend final : public reactor_backend {
 public:
  epoll_backend() : _epoll(epoll_create1(EPOLL_CLOEXEC)), _wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    epoll_event ev{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
    if (_epoll < 0 || _wake < 0 || epoll_ctl(_epoll, EPOLL_CTL_ADD, _wake, &ev) != 0) {
      int error = errno;
      close_all();
      errno = error;
      fail_with("epoll");
    }
  }
  ~epoll_backend() override { close_all(); }

  std::string_view name() const noexcept override { return "epoll"; }

  instant now() noexcept override {
    timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return {int64_t(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec};
  }

  bool poll(bool) override {
    timespec zero{};
    return take_events(&zero);
  }

  void wait(instant deadline) override {
    if (deadline == instant::never()) {
      take_events(nullptr);
      return;
    }
    int64_t left = deadline.ns - now().ns;
    left = left < 0 ? 0 : left;
    timespec ts{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    take_events(&ts);
  }

  void wake() noexcept override {
    uint64_t one = 1;
    // Never read back: each write is an edge of its own.
    [[maybe_unused]] ssize_t n = ::write(_wake, &one, sizeof(one));
  }

  void preempt_at(instant at) noexcept override { _preemption.arm(at); }
  internal::preempt_flag& preempt_flag() noexcept override { return _preemption.flag(); }

  std::unique_ptr<pollable_fd_state> adopt(int fd) override { return std::make_unique<pollable_fd_state>(fd); }

  void forget(pollable_fd_state& s) noexcept override {
    if (s.events_armed) {
      epoll_ctl(_epoll, EPOLL_CTL_DEL, s.fd, nullptr);
      // An event of this turn may still lie in _events: its state is about to go.
      for (int i = _next; i < _count; ++i) {
        if (_events[size_t(i)].data.ptr == &s) {
          _events[size_t(i)].events = 0;
        }
      }
    }
  }

  future<> readable(pollable_fd_state& s) override { return wait_for(s, EPOLLIN, s.pollin, s.waiting_in); }
  future<> writeable(pollable_fd_state& s) override { return wait_for(s, EPOLLOUT, s.pollout, s.waiting_out); }

 private:
  future<> wait_for(pollable_fd_state& s, uint32_t event, promise<>& pr, bool& waiting) {
    if (s.events_known & event) {
      s.events_known &= ~event;
      return make_ready_future<>();
    }
    if (waiting) {
      return make_exception_future<>(
          std::system_error(EBUSY, std::generic_category(), "two waiters for one descriptor"));
    }
    if (!s.events_armed) {
      epoll_event ev{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.ptr = &s}};
      if (epoll_ctl(_epoll, EPOLL_CTL_ADD, s.fd, &ev) != 0) {
        return make_exception_future<>(std::system_error(errno, std::system_category(), "epoll_ctl"));
      }
      s.events_armed = EPOLLIN | EPOLLOUT;
    }
    waiting = true;
    pr = promise<>();
    return pr.get_future();
  }

  bool take_events(const timespec* timeout) {
    int n = _has_pwait2 ? epoll_pwait2(_epoll, _events.data(), events_per_call, timeout, _preemption.sleeping_mask())
                        : epoll_pwait(_epoll, _events.data(), events_per_call, to_milliseconds(timeout),
                                      _preemption.sleeping_mask());
    if (n < 0) {
      if (errno == ENOSYS && _has_pwait2) {
        _has_pwait2 = false;
        return take_events(timeout);
      }
      if (errno != EINTR) {
        fail_with("epoll_wait");
      }
      return true;  // a signal: worth a turn
    }
    _count = n;
    for (_next = 0; _next < _count;) {
      epoll_event ev = _events[size_t(_next++)];
      if (ev.data.ptr && ev.events != 0) {
        deliver(*static_cast<pollable_fd_state*>(ev.data.ptr), ev.events);
      }
    }
    _count = 0;
    return n > 0;
  }

  void deliver(pollable_fd_state& s, uint32_t events) {
    if (events & in_events) {
      s.events_known |= EPOLLIN;
    }
    if (events & ~uint32_t(EPOLLIN | EPOLLOUT)) {
      s.events_known |= EPOLLRDHUP;  // stays: a short read does not mean that the next one would block
    }
    if (events & out_events) {
      s.events_known |= EPOLLOUT;
    }
    if (s.waiting_in && (s.events_known & EPOLLIN)) {
      s.waiting_in = false;
      s.events_known &= ~uint32_t(EPOLLIN);
      s.pollin.set_value();
    }
    if (s.waiting_out && (s.events_known & EPOLLOUT)) {
      s.waiting_out = false;
      s.events_known &= ~uint32_t(EPOLLOUT);
      s.pollout.set_value();
    }
  }

  // Rounded up, so that a timer is not found early.
  static int to_milliseconds(const timespec* t) noexcept {
    if (!t) {
      return -1;
    }
    int64_t ms = t->tv_sec * 1000 + (t->tv_nsec + 999'999) / 1'000'000;
    return ms > 60'000 ? 60'000 : int(ms);
  }

  void close_all() noexcept {
    if (_wake >= 0) {
      ::close(_wake);
    }
    if (_epoll >= 0) {
      ::close(_epoll);
    }
  }

  preemption_timer _preemption;
  int _epoll;
  int _wake;
  bool _has_pwait2 = true;
  int _count = 0;  // events of the call being delivered
  int _next = 0;
  std::array<epoll_event, events_per_call> _events;
};

}  // namespace

std::unique_ptr<reactor_backend> make_epoll_backend(unsigned) {
  return std::make_unique<epoll_backend>();
}

}  // namespace solaster

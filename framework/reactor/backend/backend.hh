// What a reactor needs from its host: the clock, sleeping until something happens, being woken by another shard, and
// the readiness of file descriptors. One class per host: epoll, io_uring, guest, later the simulator.
//
// Owns:    its kernel objects (ring, epoll descriptor, eventfd).
// Errors:  constructors throw std::system_error when the host refuses (io_uring in a container): the caller falls back.
// Context: everything but wake() by the shard's own thread. The back end is made on that thread.
#pragma once

#include "framework/future/future.hh"
#include "framework/reactor/time.hh"

#include <cstdint>
#include <memory>
#include <string_view>

namespace solaster {

class io_uring_backend;
struct engine_options;

// Something that the run loop looks at in each turn: a native stack, a device without interrupts.
class poller {
 public:
  virtual ~poller() = default;
  // Does what there is to do; true if there was anything. Called once a turn, so keep the empty case short.
  virtual bool poll() = 0;
  // Asked before the shard sleeps: arm interrupts, fence, look again. False: there is work, the shard stays awake and
  // this poller must be out of interrupt mode again.
  virtual bool try_enter_interrupt_mode() { return true; }
  // The shard has woken up. Called only after try_enter_interrupt_mode() returned true.
  virtual void exit_interrupt_mode() {}
  // When poll() must be called at the latest.
  virtual instant next_deadline() { return instant::never(); }
};

// A file descriptor as the back end knows it: who waits for it and what is known about it.
struct pollable_fd_state {
  explicit pollable_fd_state(int fd_) noexcept : fd(fd_) {}
  pollable_fd_state(const pollable_fd_state&) = delete;
  virtual ~pollable_fd_state() = default;

  int fd;
  uint32_t events_armed = 0;  // EPOLLIN | EPOLLOUT that the host was asked for
  uint32_t events_known = 0;  // those that it has reported since somebody last waited for them; EPOLLRDHUP, once
                              // the peer has ended or failed, for good
  promise<> pollin;           // at most one waiter each
  promise<> pollout;
  bool waiting_in = false;
  bool waiting_out = false;
};

class reactor_backend {
 public:
  virtual ~reactor_backend() = default;
  virtual std::string_view name() const noexcept = 0;

  // Reads the clock: CLOCK_MONOTONIC or its like, never less than before.
  virtual instant now() noexcept = 0;
  // CLOCK_REALTIME in nanoseconds.
  virtual int64_t read_wall_ns() noexcept;

  // Hands over what was queued for the host and takes in what it has finished; never blocks. True if anything came.
  // `is_idle`: the shard has nothing else to do; otherwise a back end may let some time pass between two system calls.
  virtual bool poll(bool is_idle) = 0;
  // Takes in what has finished, as far as that shows without a system call. Called in poll()'s place when wait()
  // follows.
  virtual bool take_ready() { return false; }
  // poll() is cheap enough for each turn (no system call when nothing happens). Otherwise the reactor calls it when the
  // tasks have run out or a task quota has passed.
  virtual bool poll_is_cheap() const noexcept { return false; }
  // Sleeps until something came, wake() was called or the deadline passed, and takes in what came, as poll() does. A
  // wake() that came before is not lost: it makes wait() return at once.
  virtual void wait(instant deadline) = 0;
  // Any thread, also from a signal handler.
  virtual void wake() noexcept = 0;

  // Sets the flag at this instant, by an interrupt or a signal. The last call counts.
  virtual void preempt_at(instant) noexcept = 0;
  virtual internal::preempt_flag& preempt_flag() noexcept = 0;

  // How long to busy-poll before sleeping when the options do not say: between the two, as it has paid lately.
  virtual duration idle_poll_min() const noexcept { return {}; }
  virtual duration idle_poll_max() const noexcept { return microseconds(200); }

  // ---- readiness. Descriptors are non-blocking. The state lives until forget(). ----
  // Takes up a descriptor; does not own it. A back end without descriptors (guest) throws ENOTSUP.
  virtual std::unique_ptr<pollable_fd_state> adopt(int fd);
  // Nobody waits for it any more (fail() came first if somebody did); the descriptor is closed after this.
  virtual void forget(pollable_fd_state&) noexcept {}
  // Ready when a read (write) of the descriptor would not block, or would fail. One waiter for each at a time. The
  // caller tries its system call first and waits after EAGAIN; it tries again after the wait.
  virtual future<> readable(pollable_fd_state&);
  virtual future<> writeable(pollable_fd_state&);
  // Fails whoever waits with `ex`.
  void fail(pollable_fd_state&, std::exception_ptr ex) noexcept;

  // The back end with completions, for a socket stack that can use them; null for the others. Its operations are its
  // own.
  virtual io_uring_backend* uring() noexcept { return nullptr; }
};

// The back end for this host, on this thread: what `name` says (epoll, io_uring, guest), or the best there is for
// "auto" or empty. When io_uring was chosen automatically and is refused, it says so once and takes epoll.
std::unique_ptr<reactor_backend> make_backend(std::string_view name, unsigned shard);

std::unique_ptr<reactor_backend> make_epoll_backend(unsigned shard);
// Throws std::system_error when the kernel refuses. In framework/reactor/backend/io_uring.
std::unique_ptr<reactor_backend> make_io_uring_backend(unsigned shard);
// Only in a guest (find_direct_interface() != nullptr). In framework/reactor/backend/guest.
std::unique_ptr<reactor_backend> make_guest_backend(unsigned shard);

// A file descriptor with its back-end state. Owns both.
class pollable_fd {
  std::unique_ptr<pollable_fd_state> _state;

 public:
  pollable_fd() noexcept = default;
  // Takes ownership of `fd`, which must be non-blocking.
  explicit pollable_fd(int fd);
  pollable_fd(pollable_fd&&) noexcept = default;
  pollable_fd& operator=(pollable_fd&& x) noexcept;
  ~pollable_fd() { close(); }

  explicit operator bool() const noexcept { return bool(_state); }
  int get() const noexcept { return _state->fd; }
  pollable_fd_state& state() noexcept { return *_state; }
  future<> readable();
  future<> writeable();
  // Fails who waits with ECONNABORTED and closes the descriptor.
  void close() noexcept;
};

}  // namespace solaster

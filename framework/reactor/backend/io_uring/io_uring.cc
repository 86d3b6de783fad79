#include "framework/reactor/backend/io_uring/io_uring.hh"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "framework/reactor/options.hh"

namespace solaster {

namespace {

[[noreturn]] void refuse(int error, const char* what) {
  throw std::system_error(error, std::system_category(), what);
}

}  // namespace

// ---- the ring ----

io_uring_backend::io_uring_backend(unsigned)
    : _wake([](uring_operation* op, int, uint32_t) noexcept { static_cast<wake_operation*>(op)->owner->arm_wake(); }) {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params.cq_entries = completion_entries;
  if (int e = io_uring_queue_init_params(submission_entries, &_ring, &params); e < 0) {
    refuse(-e, "io_uring_setup");
  }
  try {
    io_uring_ring_dontfork(&_ring);
    io_uring_register_ring_fd(&_ring);  // saves a look-up of the descriptor; no harm where it is refused
    _buffers.open(&_ring);
    _wake_fd = ::eventfd(0, EFD_CLOEXEC);
    if (_wake_fd < 0) {
      refuse(errno, "eventfd");
    }
  } catch (...) {
    _buffers.close(&_ring);
    io_uring_queue_exit(&_ring);
    throw;
  }
  _wake.owner = this;
  arm_wake();
}

io_uring_backend::~io_uring_backend() {
  end_operations();
  _buffers.close(&_ring);
  io_uring_queue_exit(&_ring);
  ::close(_wake_fd);
}

// The loop has ended. Connections whose users are gone wait for their last completion to free themselves: let it come.
void io_uring_backend::end_operations() noexcept {
  constexpr int turns_max = 100;
  queue(nullptr, [](io_uring_sqe* sqe) {
    io_uring_prep_cancel(sqe, nullptr, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
  });
  _closing = true;
  for (int i = 0; i < turns_max && _under_way != 0; ++i) {
    instant soon = now() + milliseconds(1);
    enter(1, &soon);
    take_completions();
  }
}

instant io_uring_backend::now() noexcept {
  timespec ts;
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return instant{int64_t(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec};
}

io_uring_sqe* io_uring_backend::take_sqe() noexcept {
  for (;;) {
    if (io_uring_sqe* sqe = io_uring_get_sqe(&_ring)) [[likely]] {
      return sqe;
    }
    // Full: hand over what there is. The kernel refuses only while its completions overflow, and taking them in cures
    // that.
    if (io_uring_submit(&_ring) <= 0) {
      io_uring_get_events(&_ring);
    }
  }
}

// A completion may queue requests and run user code as far as a promise's continuation is scheduled: nothing runs
// inline.
bool io_uring_backend::take_completions() noexcept {
  unsigned head;
  unsigned n = 0;
  io_uring_cqe* cqe;
  io_uring_for_each_cqe(&_ring, head, cqe) {
    if (auto* op = static_cast<uring_operation*>(io_uring_cqe_get_data(cqe))) [[likely]] {
      _under_way -= (cqe->flags & IORING_CQE_F_MORE) == 0;
      op->complete(op, cqe->res, cqe->flags);
    }
    ++n;
  }
  io_uring_cq_advance(&_ring, n);
  return n != 0;
}

void io_uring_backend::enter(unsigned wait_for, const instant* deadline) noexcept {
  // EINTR, ETIME: the caller's loop looks again. EBUSY, EAGAIN: what was not taken stays queued for the next turn.
  io_uring_cqe* ignored;
  if (wait_for == 0) {
    io_uring_submit_and_get_events(&_ring);
  } else if (!deadline) {
    io_uring_submit_and_wait_timeout(&_ring, &ignored, wait_for, nullptr, _preemption.sleeping_mask());
  } else {
    int64_t left = deadline->ns - now().ns;
    left = left < 0 ? 0 : left;
    __kernel_timespec ts{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    io_uring_submit_and_wait_timeout(&_ring, &ignored, wait_for, &ts, _preemption.sleeping_mask());
  }
}

// In the last turn before a sleep take_ready() and wait() are called instead: one system call hands over, waits and
// takes in. In a turn that has other work the kernel is entered only now and then; in an idle one as soon as there is
// anything to hand over or to take in, which shows in shared memory.
bool io_uring_backend::poll(bool is_idle) {
  if (take_completions()) {
    return true;
  }
  int64_t at = internal::hot.loop_now_ns;
  if (!is_idle && at - _submitted_ns < busy_submit_interval.ns) {
    return false;
  }
  _submitted_ns = at;
  bool pending = io_uring_sq_ready(&_ring) != 0 ||
                 (IO_URING_READ_ONCE(*_ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  if (!pending) {
    return false;
  }
  enter(0, nullptr);
  return take_completions();
}

void io_uring_backend::wait(instant deadline) {
  enter(1, deadline == instant::never() ? nullptr : &deadline);
  take_completions();
  _submitted_ns = internal::hot.loop_now_ns;
}

void io_uring_backend::wake() noexcept {
  uint64_t one = 1;
  (void)!::write(_wake_fd, &one, sizeof one);
}

void io_uring_backend::arm_wake() noexcept {
  queue(&_wake, [this](io_uring_sqe* sqe) { io_uring_prep_read(sqe, _wake_fd, &_wake.count, sizeof _wake.count, 0); });
}

void io_uring_backend::cancel(uring_operation* op) noexcept {
  queue(nullptr, [op](io_uring_sqe* sqe) { io_uring_prep_cancel(sqe, op, 0); });
}

// ---- readiness, for descriptors that have no operations of their own ----

struct io_uring_backend::poll_operation : uring_operation {
  poll_operation(fd_state* s, poll_operation** at) noexcept : uring_operation(&done), state(s), slot(at) {}
  static void done(uring_operation* op, int result, uint32_t flags) noexcept;
  fd_state* state;        // null when it was forgotten meanwhile
  poll_operation** slot;  // where the state keeps this
};

struct io_uring_backend::fd_state final : pollable_fd_state {
  using pollable_fd_state::pollable_fd_state;
  poll_operation* in = nullptr;  // under way
  poll_operation* out = nullptr;
};

void io_uring_backend::poll_operation::done(uring_operation* op, int, uint32_t) noexcept {
  std::unique_ptr<poll_operation> me(static_cast<poll_operation*>(op));
  if (!me->state) {
    return;
  }
  *me->slot = nullptr;
  bool in = me->slot == &me->state->in;
  bool& waiting = in ? me->state->waiting_in : me->state->waiting_out;
  if (std::exchange(waiting, false)) {
    // Whatever it was, the caller's system call will tell.
    (in ? me->state->pollin : me->state->pollout).set_value();
  }
}

std::unique_ptr<pollable_fd_state> io_uring_backend::adopt(int fd) {
  return std::make_unique<fd_state>(fd);
}

void io_uring_backend::forget(pollable_fd_state& state) noexcept {
  auto& s = static_cast<fd_state&>(state);
  for (poll_operation* op : {std::exchange(s.in, nullptr), std::exchange(s.out, nullptr)}) {
    if (op) {
      op->state = nullptr;
      cancel(op);
    }
  }
}

future<> io_uring_backend::wait_for(fd_state& s, poll_operation*& slot, short events, promise<>& pr, bool& waiting) {
  if (waiting) {
    return make_exception_future<>(std::system_error(EBUSY, std::generic_category(), "two waiters for one descriptor"));
  }
  if (!slot) {
    slot = new (std::nothrow) poll_operation(&s, &slot);
    if (!slot) {
      return make_exception_future<>(std::bad_alloc());
    }
    queue(slot, [&](io_uring_sqe* sqe) { io_uring_prep_poll_add(sqe, s.fd, unsigned(events)); });
  }
  waiting = true;
  pr = promise<>();
  return pr.get_future();
}

future<> io_uring_backend::readable(pollable_fd_state& state) {
  auto& s = static_cast<fd_state&>(state);
  return wait_for(s, s.in, POLLIN, s.pollin, s.waiting_in);
}

future<> io_uring_backend::writeable(pollable_fd_state& state) {
  auto& s = static_cast<fd_state&>(state);
  return wait_for(s, s.out, POLLOUT, s.pollout, s.waiting_out);
}

std::unique_ptr<reactor_backend> make_io_uring_backend(unsigned shard) {
  return std::make_unique<io_uring_backend>(shard);
}

}  // namespace solaster

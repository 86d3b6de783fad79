// The back end over Linux's io_uring: what a shard wants from the kernel is queued in shared memory and handed over by
// the one system call of a turn, which also waits and takes in what has finished.
//
// The ring is set up so that completions are worked off only inside that call (DEFER_TASKRUN, SINGLE_ISSUER): the
// kernel interrupts the shard for nothing. Receiving is multishot from buffers that the kernel picks, so that a
// connection costs one request for its whole life, not one for every read.
//
// Spec:    io_uring_setup(2), io_uring_enter(2); needs Linux 6.1 (DEFER_TASKRUN), 6.0 (multishot receive).
// Owns:    the ring, the receive buffers, an eventfd by which others wake it.
// Context: everything but wake() by the shard's own thread.
// Limits:  submission_entries, completion_entries; an overflow of either costs time, nothing is lost.
#pragma once

#include <liburing.h>

#include "framework/reactor/backend/backend.hh"
#include "framework/reactor/backend/io_uring/receive_buffers.hh"
#include "framework/reactor/backend/preemption_timer.hh"

namespace solaster {

// One request to the kernel, of which one or (multishot) several completions come. It must live until the last: the one
// without IORING_CQE_F_MORE in its flags.
struct uring_operation {
  using complete_function = void (*)(uring_operation*, int result, uint32_t flags) noexcept;
  explicit uring_operation(complete_function f) noexcept : complete(f) {}
  uring_operation(const uring_operation&) = delete;
  complete_function complete;
};

class io_uring_backend final : public reactor_backend {
 public:
  static constexpr unsigned submission_entries = 1024;
  static constexpr unsigned completion_entries = 4096;
  // While other work keeps the reactor busy, the kernel is entered this often.
  static constexpr duration busy_submit_interval = microseconds(30);

  // Throws std::system_error when the kernel refuses.
  explicit io_uring_backend(unsigned shard);
  ~io_uring_backend() override;

  std::string_view name() const noexcept override { return "io_uring"; }
  instant now() noexcept override;
  bool poll(bool is_idle) override;
  bool take_ready() override { return take_completions(); }
  bool poll_is_cheap() const noexcept override { return true; }
  void wait(instant deadline) override;
  void wake() noexcept override;
  void preempt_at(instant at) noexcept override { _preemption.arm(at); }
  internal::preempt_flag& preempt_flag() noexcept override { return _preemption.flag(); }
  std::unique_ptr<pollable_fd_state> adopt(int fd) override;
  void forget(pollable_fd_state&) noexcept override;
  future<> readable(pollable_fd_state&) override;
  future<> writeable(pollable_fd_state&) override;
  io_uring_backend* uring() noexcept override { return this; }

  // A cleared request to fill in by io_uring_prep_...; handed over at the end of the turn. Null `op`: its completion
  // says nothing to anybody.
  template <typename Prepare>
  void queue(uring_operation* op, Prepare prepare) noexcept {
    if (_closing) [[unlikely]] {
      return;  // the loop has ended: nothing completes any more
    }
    _under_way += op != nullptr;
    io_uring_sqe* sqe = take_sqe();
    prepare(sqe);
    io_uring_sqe_set_data(sqe, op);
  }
  // Asks that `op` end: it completes with ECANCELED, unless with something else just before.
  void cancel(uring_operation* op) noexcept;

  receive_buffers& buffers() noexcept { return _buffers; }

 private:
  struct fd_state;
  struct poll_operation;

  io_uring_sqe* take_sqe() noexcept;
  bool take_completions() noexcept;
  void enter(unsigned wait_for, const instant* deadline) noexcept;
  void arm_wake() noexcept;
  void end_operations() noexcept;
  future<> wait_for(fd_state& s, poll_operation*& slot, short events, promise<>& pr, bool& waiting);

  struct wake_operation : uring_operation {
    using uring_operation::uring_operation;
    io_uring_backend* owner = nullptr;
    uint64_t count = 0;
  };

  preemption_timer _preemption;
  io_uring _ring{};
  receive_buffers _buffers;
  wake_operation _wake;
  int _wake_fd = -1;
  int64_t _submitted_ns = 0;
  size_t _under_way = 0;  // operations whose last completion has not come
  bool _closing = false;
};

}  // namespace solaster

// A TCP connection over io_uring.
//
// Receiving: one multishot request, armed by the first read. What arrives while nobody reads is kept up to
// `unread_max`, then the request is taken back until the reader has caught up; while a shard's connections together
// hold more than receive_buffers::unread_max, a request brings one buffer only. Sending: one request at a time. The
// requests of all connections go to the kernel together, at the end of the turn.
//
// Limits: unread_max, beyond which what the kernel had received before it saw the request taken back may come (one
// turn's worth, bounded by the shard's receive buffers); pieces_max of one send.
#pragma once

#include <optional>

#include "framework/reactor/backend/io_uring/io_uring.hh"
#include "framework/socket/posix/connection.hh"

namespace solaster::posix {

class uring_connection final : public connection {
 public:
  static constexpr size_t unread_max = 32 * 1024;

  uring_connection(io_uring_backend& backend, descriptor fd) noexcept;

  future<temporary_buffer<char>> get() override;
  void shutdown_input() override;
  int fd() const noexcept override { return _fd.get(); }

 private:
  struct operation : uring_operation {
    using uring_operation::uring_operation;
    uring_connection* owner = nullptr;
    bool armed = false;      // in the kernel's hands
    bool cancelled = false;  // and asked back
  };
  // Several buffers of one send, as the kernel wants to see them.
  struct gather;

  ~uring_connection() override;
  void abandon() noexcept override;
  void end_all(std::exception_ptr why) noexcept override;
  void release_if_done() noexcept;
  void cancel(operation& op) noexcept;

  // ---- receiving ----
  void arm_receive() noexcept;
  void received(int result, uint32_t flags) noexcept;
  std::exception_ptr hidden_failure() const noexcept;
  void buffer_came(unsigned id, int length) noexcept;
  void arrived(temporary_buffer<char> buf);
  temporary_buffer<char> take_arrived() noexcept;
  void forget_arrived() noexcept;
  void end_input(std::exception_ptr why) noexcept;
  bool is_valid() const noexcept;

  // ---- sending ----
  void start_send() noexcept override;
  void sent(int result) noexcept;

  io_uring_backend& _backend;
  descriptor _fd;
  bool _abandoned = false;
  bool _input_ended = false;  // readers see the end, or _input_error; what still comes is dropped
  bool _input_over = false;   // and nothing comes any more
  operation _receive;
  operation _send;

  std::vector<temporary_buffer<char>> _arrived;  // from _arrived_next on: received and not read
  size_t _arrived_next = 0;
  size_t _unread = 0;  // their bytes
  std::optional<promise<temporary_buffer<char>>> _reader;
  std::exception_ptr _input_error;

  std::unique_ptr<gather> _gather;
};

}  // namespace solaster::posix

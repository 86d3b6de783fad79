// A TCP connection over io_uring.
//
// Receiving: one multishot request, armed by the first read. What arrives while nobody reads is kept up to
// `arrived_max`, then the request is taken back until the reader has caught up. Sending: one request at a time; a put()
// that comes meanwhile waits, so that at most two lists of buffers are held. The requests of all connections go to the
// kernel together, at the end of the turn.
//
// Limits: arrived_max bytes; a peer that never reads holds what two put() gave.
#pragma once

#include <optional>

#include "framework/reactor/backend/io_uring/io_uring.hh"
#include "framework/socket/posix/connection.hh"

namespace solaster::posix {

class uring_connection final : public connection {
 public:
  static constexpr size_t arrived_max = 256 * 1024;

  uring_connection(io_uring_backend& backend, descriptor fd) noexcept;

  future<temporary_buffer<char>> get() override;
  future<> close_input() override;
  future<> put(temporary_buffer<char> buf) override;
  future<> put(std::vector<temporary_buffer<char>> bufs) override;
  future<> close_output() override;
  void shutdown_input() override;
  void shutdown_output() override;
  void abort() noexcept override;

 private:
  struct operation : uring_operation {
    using uring_operation::uring_operation;
    uring_connection* owner = nullptr;
    bool armed = false;      // in the kernel's hands
    bool cancelled = false;  // and asked back
  };
  // Several buffers of one send, and their description for the kernel.
  struct gather;

  ~uring_connection() override;
  void abandon() noexcept override;
  void release_if_done() noexcept;
  void cancel(operation& op) noexcept;

  // ---- receiving ----
  void arm_receive() noexcept;
  void received(int result, uint32_t flags) noexcept;
  void arrived(temporary_buffer<char> buf);
  void end_input(std::exception_ptr why) noexcept;

  // ---- sending ----
  future<> wait_to_put();
  void tell_end() noexcept;
  void resolve_closer() noexcept;
  bool may_send(future<>& refusal) noexcept;
  void start_send() noexcept;
  void sent(int result) noexcept;
  void advance(size_t n) noexcept;
  void end_output(std::exception_ptr why) noexcept;

  io_uring_backend& _backend;
  bool _abandoned = false;
  bool _input_ended = false;    // nothing more will be received: _input_error says why, or it is the end of the stream
  bool _output_closed = false;  // no put() any more
  bool _output_shut = false;    // the peer was told
  operation _receive;
  operation _send;

  std::vector<temporary_buffer<char>> _arrived;  // from _arrived_next on: received and not read
  size_t _arrived_next = 0;
  size_t _arrived_bytes = 0;
  std::optional<promise<temporary_buffer<char>>> _reader;
  std::exception_ptr _input_error;

  temporary_buffer<char> _sending;    // the one buffer under way, when it is one
  std::unique_ptr<gather> _gathered;  // or several
  temporary_buffer<char> _next;       // and what goes after it
  std::vector<temporary_buffer<char>> _next_list;
  std::optional<promise<>> _writer;  // waits until what it put is under way
  std::optional<promise<>> _closer;  // waits until all is sent
  std::exception_ptr _output_error;
};

}  // namespace solaster::posix

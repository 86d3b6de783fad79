// A TCP connection of the posix stack: what its handle, its source and its sink share. Its output side is here; how
// bytes get to Linux and back is in the two classes derived from it: uring_connection (completions) and
// readiness_connection (epoll).
//
// Sending: what put() is given stands in one queue. A put() is ready at once while nothing else is under way; one that
// comes meanwhile waits until what was before it is gone, so that at most two of them are held. Who gives that wait up
// loses nothing: close_output() waits for it and sends the end after it.
//
// Lives until the last of handle, source, sink and requests under way is gone. Context: shard-local.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "framework/reactor/backend/backend.hh"
#include "framework/reactor/timer.hh"
#include "framework/socket/posix/descriptor.hh"
#include "framework/socket/posix/send_queue.hh"

namespace solaster::posix {

class connection {
 public:
  connection(const connection&) = delete;

  // ---- the source ----
  virtual future<temporary_buffer<char>> get() = 0;
  // ---- the sink ----
  template <typename Data>  // a buffer, or several
  future<> put(Data data);
  future<> close_output();
  // ---- the handle ----
  virtual void shutdown_input() = 0;
  void shutdown_output() noexcept;
  void shutdown(delay patience) noexcept;
  void abort() noexcept;

  virtual int fd() const noexcept = 0;

  void add_user() noexcept { ++_users; }
  void drop_user() noexcept {
    if (--_users == 0) {
      _patience.reset();
      abandon();
    }
  }

 protected:
  connection() noexcept = default;
  virtual ~connection() = default;
  // Nobody uses it any more: end what is under way, then delete this.
  virtual void abandon() noexcept = 0;

  // ---- for the derived class, about sending ----
  // Begins to send the head of `_output`. When Linux has taken some of it, took() is called; when it refuses,
  // fail_output(). Whichever empties `_output`, or fails, is followed by send_ended().
  virtual void start_send() noexcept = 0;
  void took(size_t n) noexcept;
  void fail_output(std::exception_ptr why) noexcept;
  void send_ended() noexcept;
  // The connection was reset: end what is under way in both directions. The output has failed already.
  virtual void end_all(std::exception_ptr why) noexcept = 0;

  send_queue _output;
  std::exception_ptr _output_error;  // why nothing more is sent

 private:
  std::exception_ptr refusal() const noexcept;
  void tell_end() noexcept;

  unsigned _users = 0;
  bool _sending = false;             // start_send() was called and send_ended() was not
  bool _output_closed = false;       // no put() any more
  bool _output_shut = false;         // the peer was told
  std::optional<promise<>> _writer;  // of the put() that waits
  size_t _ahead = 0;                 // bytes of _output before what that one gave
  std::vector<promise<>> _closers;   // wait until all is sent
  std::unique_ptr<timer<>> _patience;
};

// A share of a connection.
class connection_ref {
 public:
  explicit connection_ref(connection* c) noexcept : _c(c) { _c->add_user(); }
  connection_ref(const connection_ref& o) noexcept : _c(o._c) { _c->add_user(); }
  connection_ref& operator=(const connection_ref&) = delete;
  ~connection_ref() { _c->drop_user(); }
  connection* operator->() const noexcept { return _c; }
  connection* get() const noexcept { return _c; }

 private:
  connection* _c;
};

connected_socket make_connected_socket(connection* c);
// Take over a connected descriptor.
connection* make_uring_connection(io_uring_backend& backend, descriptor fd);
connection* make_readiness_connection(pollable_fd fd);

// The connection when it is there. `giving_up` may be null; it must outlive the future otherwise.
future<connected_socket> connect_uring(io_uring_backend& backend, descriptor fd, socket_address remote,
                                       abort_source* giving_up);
future<connected_socket> connect_readiness(descriptor fd, socket_address remote, abort_source* giving_up);

}  // namespace solaster::posix

// A TCP connection of the posix stack: what its handle, its source and its sink share. How bytes get to Linux and back
// is in the two classes derived from it: uring_connection (completions) and readiness_connection (epoll).
//
// Owns:    the descriptor. Lives until the last of handle, source, sink and requests under way is gone.
// Context: shard-local.
#pragma once

#include <memory>

#include "framework/reactor/backend/backend.hh"
#include "framework/socket/posix/descriptor.hh"

namespace solaster::posix {

class connection {
 public:
  connection(const connection&) = delete;

  // ---- the source ----
  virtual future<temporary_buffer<char>> get() = 0;
  virtual future<> close_input() = 0;
  // ---- the sink ----
  virtual future<> put(temporary_buffer<char> buf) = 0;
  virtual future<> put(std::vector<temporary_buffer<char>> bufs) = 0;
  virtual future<> close_output() = 0;
  // ---- the handle ----
  virtual void shutdown_input() = 0;
  virtual void shutdown_output() = 0;
  virtual void abort() noexcept = 0;

  int fd() const noexcept { return _fd.get(); }

  void add_user() noexcept { ++_users; }
  void drop_user() noexcept {
    if (--_users == 0) {
      abandon();
    }
  }

 protected:
  explicit connection(descriptor fd) noexcept : _fd(std::move(fd)) {}
  virtual ~connection() = default;
  // Nobody uses it any more: end what is under way, then delete this.
  virtual void abandon() noexcept = 0;
  // Makes Linux send a RST (RFC 9293, 3.10.5) and forget the connection, whatever is unsent.
  void reset_connection() noexcept;

  descriptor _fd;

 private:
  unsigned _users = 0;
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

// Takes over a connected descriptor; chooses the class by the shard's back end.
connected_socket make_connected_socket(descriptor fd);
connection* make_uring_connection(io_uring_backend& backend, descriptor fd);
connection* make_readiness_connection(descriptor fd);

// Waits for connections. The two kinds again.
std::unique_ptr<server_socket_impl> make_uring_listener(io_uring_backend& backend, descriptor fd, bool shared);
std::unique_ptr<server_socket_impl> make_readiness_listener(descriptor fd, bool shared);
future<connected_socket> connect_uring(io_uring_backend& backend, descriptor fd, socket_address remote);
future<connected_socket> connect_readiness(descriptor fd, socket_address remote);

std::unique_ptr<datagram_channel_impl> make_datagram_channel(descriptor fd);

// After these errors of accept(2) a pause is due: the next try would fail as well.
inline constexpr duration accept_pause = milliseconds(10);
bool is_shortage(int error) noexcept;

}  // namespace solaster::posix

// Sockets that listen: made here, waited on by uring_listener (completions) or readiness_listener (epoll).
//
// When descriptors (or memory) run out, accepting pauses and goes on by itself: the connections wait in Linux's backlog
// meanwhile, and one line tells it.
#pragma once

#include <memory>

#include "framework/reactor/backend/backend.hh"
#include "framework/socket/posix/descriptor.hh"
#include "framework/socket/posix/shared_address.hh"

namespace solaster::posix {

// A listening descriptor, with its share of the address where several shards listen on it.
struct listening {
  shared_address share;  // gone after the descriptor
  descriptor fd;
};
// Throws std::system_error; see network_stack::listen().
listening make_listening(const socket_address& a, const listen_options& options, bool shared, bool nonblocking);

std::unique_ptr<server_socket_impl> make_uring_listener(io_uring_backend& backend, listening l);
std::unique_ptr<server_socket_impl> make_readiness_listener(listening l);

// What to do when accept(2) says that something has run out.
class shortage {
 public:
  static constexpr duration pause = milliseconds(10);  // until the next try
  static constexpr duration silence = seconds(60);     // between two lines about it

  static bool is_one(int error) noexcept;
  void tell(int error) noexcept;

 private:
  instant _next_line{};
};

}  // namespace solaster::posix

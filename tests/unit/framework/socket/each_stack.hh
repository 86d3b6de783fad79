// Cases that every stack has to pass: Linux's sockets over io_uring and over epoll, and our own TCP over a tap. The
// peer is always Linux, by plain non-blocking system calls from the same thread: `linux_peer`.
//
//     STACK_TEST(a_peer_that_ends_is_seen) {
//       auto p = co_await connected_pair();
//       p.peer.close();
//       EXPECT_TRUE((co_await p.socket.input().read()).empty());
//     }
//
// The tap stands in a network namespace of the test's own, which needs the right to make one; without it those are
// skipped.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "framework/future/future.hh"
#include "framework/socket/api.hh"
#include "framework/socket/posix/descriptor.hh"

namespace solaster::testing {

struct stack_kind {
  const char* name;
  const char* backend;
  bool native;
};
inline void PrintTo(const stack_kind& k, std::ostream* out) {
  *out << k.name;
}
// That of the case which runs.
const stack_kind& current_stack();
// Addresses of the stack under test and of Linux, port 0.
socket_address our_address(uint16_t port = 0);
socket_address peer_address(uint16_t port = 0);

// Runs `body` over a tap in a network of its own; false: there is no right to make one.
bool run_native(future<> (*body)(), const std::string& backend, int shards);
// Of run_native(): the tap is taken away from under the program.
void remove_tap();

class each_stack : public ::testing::TestWithParam<stack_kind> {
 protected:
  void run(future<> (*body)(), int shards);
};

// Linux's end of a connection, or a listener of Linux's.
class linux_peer {
 public:
  linux_peer() noexcept = default;
  explicit linux_peer(posix::descriptor fd) noexcept : _fd(std::move(fd)) {}
  static linux_peer listening(int backlog = 16);
  static future<linux_peer> connect_to(socket_address to);
  // Takes connections of its own until no more fit: a SYN that comes now is not answered.
  void fill_backlog();

  socket_address address() const { return posix::read_local_address(_fd.get()); }
  future<linux_peer> accept();
  // Waits until all is written.
  future<> write(std::string data);
  // Writes until nothing more goes for a while, at most `max`; returns how much.
  future<size_t> write_until_stuck(size_t max);
  // At least one byte; empty at the end. Throws std::system_error.
  future<std::string> read();
  // All that comes up to the end.
  future<std::string> read_to_end();
  void close_output();
  void reset();  // RST
  void close() { _fd = {}; }

 private:
  posix::descriptor _fd;
  std::vector<posix::descriptor> _fillers;
};

struct connected_pair_result {
  connected_socket socket;
  linux_peer peer;
};
// A connection that the peer has opened.
future<connected_pair_result> connected_pair();

// What a failed future says; 0 for success.
int error_of(future<> f);
template <typename T>
int error_of(future<T> f) {
  return error_of(f.discard_result());
}

}  // namespace solaster::testing

#define STACK_TEST_ON(name, shards)                       \
  static ::solaster::future<> each_stack_##name##_body(); \
  TEST_P(each_stack, name) {                              \
    run(&each_stack_##name##_body, shards);               \
  }                                                       \
  static ::solaster::future<> each_stack_##name##_body()
#define STACK_TEST(name) STACK_TEST_ON(name, 1)

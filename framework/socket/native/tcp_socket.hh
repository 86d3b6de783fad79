// TCP sockets over this shard's net::stack.
//
// A `connection` joins a handle of the stack to the futures that wait for it. Reading hands up the stack's fragments as
// they are; writing hands down references to the writer's buffers, which are let go when the peer has acknowledged them
// (or the connection dies). A put() waits while the stack's send buffer is full: that is the back pressure.
//
// Owns: the stack's handle. Context: shard-local. Errors: std::system_error with the stack's error number.
#pragma once

#include "framework/future/future.hh"
#include "framework/reactor/timer.hh"
#include "framework/socket/api.hh"
#include "framework/socket/native/driver.hh"
#include "framework/sync/abort_source.hh"

#include <deque>
#include <memory>
#include <optional>

namespace solaster::native {

std::exception_ptr make_error(errc e, const char* what) noexcept;

class connection final : public event_target, public std::enable_shared_from_this<connection> {
 public:
  connection() = default;
  connection(const connection&) = delete;
  ~connection();

  // Takes over a handle whose cookie is this object.
  void attach(net::tcp::connection* c) noexcept { _handle = c; }
  // `giving_up` may be null.
  static future<std::shared_ptr<connection>> open(net::endpoint local, net::endpoint remote, abort_source* giving_up);

  void on_event(uint32_t bits) noexcept override;
  future<temporary_buffer<char>> read();
  future<> write(temporary_buffer<char> buf);
  future<> write(std::vector<temporary_buffer<char>> bufs);
  void shutdown_input() noexcept;
  void shutdown_output() noexcept;
  future<> close_output();
  void shutdown(delay patience) noexcept;
  void abort() noexcept;

  net::tcp::layer& tcp() const noexcept { return driver::local()->tcp(); }
  net::tcp::connection* handle() const noexcept { return _handle; }
  // Commands are possible: the stack is there.
  bool usable() const noexcept { return _handle && driver::local(); }

 private:
  void opened(uint32_t bits) noexcept;
  bool take(temporary_buffer<char>& out);
  future<temporary_buffer<char>> read_what_is_there();
  errc send_pending() noexcept;
  void add_pending(temporary_buffer<char> buf);
  future<> start_sending();
  void resume_read() noexcept;
  void resume_write() noexcept;
  void resolve_closers() noexcept;
  std::exception_ptr failure() const noexcept;
  // A put waits exactly while something is pending; after the FIN there is nothing.
  bool is_valid() const noexcept { return bool(_writing) == !_pending.empty() && !(_fin_given && _writing); }

  net::tcp::connection* _handle = nullptr;
  std::optional<promise<temporary_buffer<char>>> _reading;
  std::optional<promise<>> _writing;
  std::vector<promise<>> _closing;  // wait until all is handed to the stack
  struct opening {
    promise<std::shared_ptr<connection>> caller;
    std::optional<abort_source::subscription> watch;
  };
  std::unique_ptr<opening> _opening;
  std::unique_ptr<timer<>> _patience;
  std::deque<net::fragment> _pending;  // handed to us and not yet to the stack
  bool _look_first = true;             // a read has to ask the stack; else an event comes when there is something
  bool _input_shut = false;
  bool _output_shut = false;  // a FIN follows what is pending
  bool _fin_given = false;
  bool _aborted = false;
};

std::unique_ptr<connected_socket_impl> make_connected_socket(std::shared_ptr<connection> c);
// Throws std::system_error.
std::unique_ptr<server_socket_impl> make_server_socket(net::endpoint local, const listen_options& options);

inline net::endpoint to_endpoint(const socket_address& a) noexcept {
  return {{a.v4().ip}, a.v4().port};
}
inline socket_address to_socket_address(const net::endpoint& e) noexcept {
  return {e.address.value, e.port};
}

}  // namespace solaster::native

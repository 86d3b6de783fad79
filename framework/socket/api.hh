// TCP and UDP sockets, whichever stack carries them.
//
// The handles here (`connected_socket`, `server_socket`, `datagram_channel`) each own an implementation of the
// interface named `..._impl` beside them. There are two sets of these: posix (framework/socket/posix: Linux's sockets
// over the reactor's back end) and native (framework/socket/native: our own TCP over a NIC's queues). `engine().net()`
// is the stack that the program was started with.
//
// Owns:    a handle owns its socket. Streams of a connection share it: they may outlive the connected_socket.
// Waits may be given up (with_timeout): what was called goes on, and its result is dropped when it comes: the bytes of
// a read, the connection of an accept. What ends such a wait is named at each handle below; close() of a stream then
// waits for nothing but what it is meant to.
//
// Errors:  exceptional futures with std::system_error, code in std::generic_category or std::system_category:
//          ECONNRESET, EPIPE, ECONNABORTED after abort(), abort_accept() or shutdown_input() of a datagram channel,
//          ECONNREFUSED, ETIMEDOUT, EADDRINUSE... EBUSY: a second read, write or accept while one is under way.
// Context: shard-local. A connection stays on the shard that accepted or opened it.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "framework/future/future.hh"
#include "framework/io/streams.hh"
#include "framework/reactor/time.hh"
#include "framework/socket/address.hh"

namespace solaster {

class abort_source;

struct keepalive_params {
  std::chrono::seconds idle{75};
  std::chrono::seconds interval{75};
  unsigned count = 9;
};

class connected_socket_impl {
 public:
  virtual ~connected_socket_impl() = default;
  // Each called at most once. They share the ownership of the connection.
  virtual data_source source() = 0;
  virtual data_sink sink() = 0;
  // A read under way, and every later one, sees the end of the stream; what the peer still sends is dropped.
  virtual void shutdown_input() = 0;
  // The peer sees the end after what was put before; later puts fail with EPIPE.
  virtual void shutdown_output() = 0;
  virtual void shutdown(delay patience) noexcept = 0;
  virtual void abort() noexcept = 0;
  virtual void set_nodelay(bool) = 0;
  virtual bool nodelay() const = 0;
  virtual void set_keepalive(bool) = 0;
  virtual bool keepalive() const = 0;
  virtual void set_keepalive_parameters(const keepalive_params&) = 0;
  virtual keepalive_params keepalive_parameters() const = 0;
  virtual socket_address local_address() const noexcept = 0;
  virtual socket_address remote_address() const noexcept = 0;
};

// An established TCP connection. TCP_NODELAY is off as everywhere else: servers that write whole replies set it.
class connected_socket {
 public:
  connected_socket() noexcept = default;
  explicit connected_socket(std::unique_ptr<connected_socket_impl> impl) noexcept : _impl(std::move(impl)) {}

  // Each once per connection.
  input_stream<char> input() { return input_stream<char>(_impl->source()); }
  output_stream<char> output(size_t buffer_size = output_stream<char>::default_buffer_size,
                             output_stream_options options = {}) {
    return output_stream<char>(_impl->sink(), buffer_size, options);
  }
  // Instead of output(), for who makes whole messages: no buffer in between.
  data_sink sink() { return _impl->sink(); }
  void shutdown_input() { _impl->shutdown_input(); }
  void shutdown_output() { _impl->shutdown_output(); }
  // For who stops a server: shutdown_input(), and when the connection is still there after `patience`, abort(). So who
  // reads sees the end, who answers has the time to finish, and who waits for a peer that does not read is freed.
  void shutdown(delay patience) noexcept { _impl->shutdown(patience); }
  // Resets the connection at once: reads and writes under way, and later ones, fail with ECONNABORTED; the peer gets a
  // RST.
  void abort() noexcept { _impl->abort(); }
  void set_nodelay(bool on) { _impl->set_nodelay(on); }
  bool nodelay() const { return _impl->nodelay(); }
  void set_keepalive(bool on) { _impl->set_keepalive(on); }
  bool keepalive() const { return _impl->keepalive(); }
  void set_keepalive_parameters(const keepalive_params& p) { _impl->set_keepalive_parameters(p); }
  keepalive_params keepalive_parameters() const { return _impl->keepalive_parameters(); }
  socket_address local_address() const noexcept { return _impl->local_address(); }
  socket_address remote_address() const noexcept { return _impl->remote_address(); }
  explicit operator bool() const noexcept { return bool(_impl); }

 private:
  std::unique_ptr<connected_socket_impl> _impl;
};

struct accept_result {
  connected_socket connection;
  socket_address remote_address;
};

// How connections to one address come to the shards that listen on it.
enum class load_balancing {
  by_flow,  // whichever shard the flow's hash says (kernel's SO_REUSEPORT, or the NIC's RSS)
  none,     // only this shard listens
};

struct listen_options {
  bool reuse_address = true;
  int backlog = 1024;
  load_balancing lba = load_balancing::by_flow;
  bool nodelay = false;  // for accepted connections
};

class server_socket_impl {
 public:
  virtual ~server_socket_impl() = default;
  virtual future<accept_result> accept() = 0;
  virtual void abort_accept() = 0;
  virtual socket_address local_address() const = 0;
};

class server_socket {
 public:
  server_socket() noexcept = default;
  explicit server_socket(std::unique_ptr<server_socket_impl> impl) noexcept : _impl(std::move(impl)) {}

  // The next connection. Not called again before the future is resolved. A connection whose peer has left meanwhile is
  // passed over; while descriptors or memory have run out it waits (and one line in the log says so).
  future<accept_result> accept() { return _impl->accept(); }
  // An accept under way, and every later one, fails with ECONNABORTED.
  void abort_accept() { _impl->abort_accept(); }
  socket_address local_address() const { return _impl->local_address(); }
  explicit operator bool() const noexcept { return bool(_impl); }

 private:
  std::unique_ptr<server_socket_impl> _impl;
};

struct datagram {
  socket_address src;
  socket_address dst;  // the port is always ours; the address is "any" where the stack cannot tell
  temporary_buffer<char> data;
  bool truncated = false;
};

struct datagram_options {
  // by_flow: every shard that wants datagrams opens the same address. none: it is for this shard, and another one that
  // opens it gets EADDRINUSE.
  load_balancing lba = load_balancing::none;
};

class datagram_channel_impl {
 public:
  virtual ~datagram_channel_impl() = default;
  virtual future<datagram> receive() = 0;
  virtual future<> send(const socket_address& dst, temporary_buffer<char> data) = 0;
  virtual void shutdown_input() = 0;
  virtual void close() noexcept = 0;
  virtual socket_address local_address() const = 0;
};

// A UDP port.
class datagram_channel {
 public:
  datagram_channel() noexcept = default;
  explicit datagram_channel(std::unique_ptr<datagram_channel_impl> impl) noexcept : _impl(std::move(impl)) {}
  datagram_channel(datagram_channel&&) noexcept = default;
  datagram_channel& operator=(datagram_channel&&) noexcept = default;

  future<datagram> receive() { return _impl->receive(); }
  // Resolves when another datagram may be sent. EMSGSIZE when it cannot go out at all.
  future<> send(const socket_address& dst, temporary_buffer<char> data) { return _impl->send(dst, std::move(data)); }
  // A receive under way, and every later one, fails with ECONNABORTED.
  void shutdown_input() { _impl->shutdown_input(); }
  void close() noexcept { _impl->close(); }
  socket_address local_address() const { return _impl->local_address(); }
  explicit operator bool() const noexcept { return bool(_impl); }

 private:
  std::unique_ptr<datagram_channel_impl> _impl;
};

// One stack, one shard. Every shard has its own instance.
class network_stack {
 public:
  virtual ~network_stack() = default;
  virtual std::string_view name() const noexcept = 0;
  // Ready when addresses are configured (DHCP).
  virtual future<> initialize() { return make_ready_future<>(); }
  // Throws std::system_error (EADDRINUSE, EACCES...) at once: a server's start-up wants to know. With
  // load_balancing::by_flow every shard that wants connections calls it with the same address. Port 0 is for one shard
  // only.
  virtual server_socket listen(socket_address addr, listen_options options = {}) = 0;
  // `giving_up`, which outlives the future, ends it early: ECONNABORTED. Else it takes as long as the stack tries, also
  // when the caller does not wait any more.
  virtual future<connected_socket> connect(socket_address remote, socket_address local = {},
                                           abort_source* giving_up = nullptr) = 0;
  // Throws std::system_error as listen() does. Port 0 is for one shard only.
  virtual datagram_channel make_datagram_channel(socket_address local = {}, datagram_options options = {}) = 0;
  // The address that other hosts reach this one by; "any" where it is not known.
  virtual socket_address host_address() const noexcept { return {}; }
};

}  // namespace solaster

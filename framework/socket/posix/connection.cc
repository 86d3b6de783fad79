#include "framework/socket/posix/connection.hh"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace solaster::posix {

// ---- sending ----

std::exception_ptr connection::refusal() const noexcept {
  if (_output_error) {
    return _output_error;
  }
  if (_output_closed) {
    return make_error(EPIPE, "send");
  }
  return _writer ? make_error(EBUSY, "two writers on one connection") : nullptr;
}

template <typename Data>
future<> connection::put(Data data) {
  if (auto why = refusal()) [[unlikely]] {
    return make_exception_future<>(std::move(why));
  }
  size_t ahead = _output.bytes();
  _output.append(std::move(data));
  if (_output.bytes() == ahead) {
    return make_ready_future<>();
  }
  if (!_sending) [[likely]] {
    _sending = true;
    start_send();
    return _output_error ? make_exception_future<>(_output_error) : make_ready_future<>();
  }
  _ahead = ahead;
  return _writer.emplace().get_future();
}
template future<> connection::put(temporary_buffer<char>);
template future<> connection::put(std::vector<temporary_buffer<char>>);

void connection::took(size_t n) noexcept {
  _output.advance(n);
  if (_writer) {
    _ahead -= std::min(n, _ahead);
    if (_ahead == 0) {
      std::exchange(_writer, std::nullopt)->set_value();
    }
  }
}

void connection::fail_output(std::exception_ptr why) noexcept {
  if (!_output_error) {
    _output_error = std::move(why);
  }
  if (_writer) {
    std::exchange(_writer, std::nullopt)->set_exception(_output_error);
  }
}

void connection::send_ended() noexcept {
  DCHECK(_sending && (_output.empty() || _output_error));
  _sending = false;
  _output.clear();  // after a failure nothing more will be sent
  if (_output_closed && !_output_error) {
    tell_end();
  }
  for (auto& c : _closers) {
    c.set_value();
  }
  _closers.clear();
}

void connection::tell_end() noexcept {
  if (!std::exchange(_output_shut, true)) {
    ::shutdown(fd(), SHUT_WR);
  }
}

void connection::shutdown_output() noexcept {
  _output_closed = true;
  if (!_sending && !_output_error) {
    tell_end();
  }
}

future<> connection::close_output() {
  shutdown_output();
  return _sending ? _closers.emplace_back().get_future() : make_ready_future<>();
}

// ---- ends ----

void connection::shutdown(delay patience) noexcept {
  shutdown_input();
  try {
    _patience = std::make_unique<timer<>>([this] { abort(); });
    _patience->arm(patience);
  } catch (...) {
    abort();  // no memory to wait with
  }
}

void connection::abort() noexcept {
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  // tcp(7): a disconnect. Linux sends a RST (RFC 9293, 3.10.5) and forgets what is unsent.
  ::connect(fd(), &nowhere, sizeof nowhere);
  auto why = make_error(ECONNABORTED, "connection aborted");
  fail_output(why);
  end_all(std::move(why));
}

namespace {

class source_impl final : public data_source_impl {
 public:
  explicit source_impl(const connection_ref& c) noexcept : _c(c) {}
  ~source_impl() override = default;
  future<temporary_buffer<char>> get() override { return _c->get(); }
  future<> close() override {
    _c->shutdown_input();
    return make_ready_future<>();
  }

 private:
  connection_ref _c;
};

class sink_impl final : public data_sink_impl {
 public:
  explicit sink_impl(const connection_ref& c) noexcept : _c(c) {}
  ~sink_impl() override = default;
  future<> put(std::vector<temporary_buffer<char>> bufs) override { return _c->put(std::move(bufs)); }
  future<> put(temporary_buffer<char> buf) override { return _c->put(std::move(buf)); }
  future<> close() override { return _c->close_output(); }

 private:
  connection_ref _c;
};

class socket_impl final : public connected_socket_impl {
 public:
  explicit socket_impl(const connection_ref& c) noexcept : _c(c) {}

  data_source source() override { return data_source(std::make_unique<source_impl>(_c)); }
  data_sink sink() override { return data_sink(std::make_unique<sink_impl>(_c)); }
  void shutdown_input() override { _c->shutdown_input(); }
  void shutdown_output() override { _c->shutdown_output(); }
  void shutdown(delay patience) noexcept override { _c->shutdown(patience); }
  void abort() noexcept override { _c->abort(); }
  void set_nodelay(bool on) override { set_option(_c->fd(), IPPROTO_TCP, TCP_NODELAY, on); }
  bool nodelay() const override { return option(_c->fd(), IPPROTO_TCP, TCP_NODELAY) != 0; }
  void set_keepalive(bool on) override { set_option(_c->fd(), SOL_SOCKET, SO_KEEPALIVE, on); }
  bool keepalive() const override { return option(_c->fd(), SOL_SOCKET, SO_KEEPALIVE) != 0; }
  void set_keepalive_parameters(const keepalive_params& p) override {
    set_option(_c->fd(), IPPROTO_TCP, TCP_KEEPIDLE, int(p.idle.count()));
    set_option(_c->fd(), IPPROTO_TCP, TCP_KEEPINTVL, int(p.interval.count()));
    set_option(_c->fd(), IPPROTO_TCP, TCP_KEEPCNT, int(p.count));
  }
  keepalive_params keepalive_parameters() const override {
    return {std::chrono::seconds(option(_c->fd(), IPPROTO_TCP, TCP_KEEPIDLE)),
            std::chrono::seconds(option(_c->fd(), IPPROTO_TCP, TCP_KEEPINTVL)),
            unsigned(option(_c->fd(), IPPROTO_TCP, TCP_KEEPCNT))};
  }
  socket_address local_address() const noexcept override { return read_local_address(_c->fd()); }
  socket_address remote_address() const noexcept override { return read_remote_address(_c->fd()); }

 private:
  connection_ref _c;
};

}  // namespace

connected_socket make_connected_socket(connection* c) {
  connection_ref mine(c);  // its end, if what follows throws
  return connected_socket(std::make_unique<socket_impl>(mine));
}

}  // namespace solaster::posix

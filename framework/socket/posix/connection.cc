#include "framework/socket/posix/connection.hh"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "framework/reactor/reactor.hh"

namespace solaster::posix {

void connection::reset_connection() noexcept {
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  ::connect(_fd.get(), &nowhere, sizeof nowhere);  // tcp(7): a disconnect, and with data about a RST
}

bool is_shortage(int error) noexcept {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

namespace {

class source_impl final : public data_source_impl {
 public:
  explicit source_impl(const connection_ref& c) noexcept : _c(c) {}
  ~source_impl() override = default;
  future<temporary_buffer<char>> get() override { return _c->get(); }
  future<> close() override { return _c->close_input(); }

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
  explicit socket_impl(connection* c) noexcept : _c(c) {}

  data_source source() override { return data_source(std::make_unique<source_impl>(_c)); }
  data_sink sink() override { return data_sink(std::make_unique<sink_impl>(_c)); }
  void shutdown_input() override { _c->shutdown_input(); }
  void shutdown_output() override { _c->shutdown_output(); }
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

connected_socket make_connected_socket(descriptor fd) {
  io_uring_backend* uring = engine().backend().uring();
  connection* c = uring ? make_uring_connection(*uring, std::move(fd)) : make_readiness_connection(std::move(fd));
  return connected_socket(std::make_unique<socket_impl>(c));
}

}  // namespace solaster::posix

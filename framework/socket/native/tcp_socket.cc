#include "framework/socket/native/tcp_socket.hh"

#include <system_error>

namespace solaster::native {
namespace {

class source final : public data_source_impl {
 public:
  explicit source(std::shared_ptr<connection> c) noexcept : _c(std::move(c)) {}
  future<temporary_buffer<char>> get() override { return _c->read(); }
  future<> close() override {
    _c->shutdown_input();
    return make_ready_future<>();
  }

 private:
  std::shared_ptr<connection> _c;
};

class sink final : public data_sink_impl {
 public:
  explicit sink(std::shared_ptr<connection> c) noexcept : _c(std::move(c)) {}
  future<> put(std::vector<temporary_buffer<char>> bufs) override { return _c->write(std::move(bufs)); }
  future<> put(temporary_buffer<char> buf) override { return _c->write(std::move(buf)); }
  future<> close() override { return _c->close_output(); }

 private:
  std::shared_ptr<connection> _c;
};

class connected final : public connected_socket_impl {
 public:
  explicit connected(std::shared_ptr<connection> c) noexcept : _c(std::move(c)) {
    if (_c->usable()) {
      _tuple = _c->tcp().tuple(_c->handle());
    }
  }
  data_source source() override { return data_source(std::make_unique<native::source>(_c)); }
  data_sink sink() override { return data_sink(std::make_unique<native::sink>(_c)); }
  void shutdown_input() override { _c->shutdown_input(); }
  void shutdown_output() override { _c->shutdown_output(); }
  void shutdown(delay patience) noexcept override { _c->shutdown(patience); }
  void abort() noexcept override { _c->abort(); }
  void set_nodelay(bool on) override {
    _nodelay = on;
    if (_c->usable()) {
      _c->tcp().set_nodelay(_c->handle(), on);
    }
  }
  bool nodelay() const override { return _nodelay; }
  void set_keepalive(bool on) override {
    _keepalive = on;
    apply_keepalive();
  }
  bool keepalive() const override { return _keepalive; }
  void set_keepalive_parameters(const keepalive_params& p) override {
    _params = p;
    apply_keepalive();
  }
  keepalive_params keepalive_parameters() const override { return _params; }
  socket_address local_address() const noexcept override { return to_socket_address(_tuple.local); }
  socket_address remote_address() const noexcept override { return to_socket_address(_tuple.remote); }

 private:
  void apply_keepalive() {
    if (_c->usable()) {
      _c->tcp().set_keepalive(_c->handle(), _keepalive, seconds(_params.idle.count()),
                              seconds(_params.interval.count()), _params.count);
      driver::local()->touch();
    }
  }
  std::shared_ptr<connection> _c;
  net::four_tuple _tuple;
  bool _nodelay = false;
  bool _keepalive = false;
  keepalive_params _params;
};

class server final : public server_socket_impl, public event_target {
 public:
  server(net::endpoint local, const listen_options& options) : _nodelay(options.nodelay) {
    driver& d = *driver::local();
    auto backlog = uint32_t(options.backlog > 0 ? options.backlog : 1);
    _alone = local.port == 0 || options.lba == load_balancing::none;
    _listener = open_port<net::tcp::listener*>(
        d.ports(), transport::tcp, local.port, !_alone, "listen on " + to_string(to_socket_address(local)),
        [&] { return d.tcp().listen(local, backlog, cookie(), d.now()); },
        [&](net::tcp::listener* l) { return d.tcp().local(l).port; },
        [&](net::tcp::listener* l) { d.tcp().release(l, d.now()); });
    if (_alone) {
      d.pin(transport::tcp, d.tcp().local(_listener).port, true);  // all flows to this port come here
    }
  }
  ~server() { abort_accept(); }

  future<accept_result> accept() override {
    if (!_listener || !driver::local()) {
      return make_exception_future<accept_result>(make_error(errc::connaborted, "accept"));
    }
    if (auto c = take()) {
      return make_ready_future<accept_result>(wrap(std::move(c)));
    }
    if (_accepting) {
      return make_exception_future<accept_result>(make_error(errc::busy, "two accepts at once"));
    }
    return _accepting.emplace().get_future();
  }
  void abort_accept() override {
    close();
    if (_accepting) {
      std::exchange(_accepting, std::nullopt)->set_exception(make_error(errc::connaborted, "accept"));
    }
  }
  socket_address local_address() const override {
    return _listener && driver::local() ? to_socket_address(driver::local()->tcp().local(_listener)) : socket_address();
  }
  void on_event(uint32_t) noexcept override {
    if (!_accepting) {
      return;
    }
    try {
      if (auto c = take()) {
        std::exchange(_accepting, std::nullopt)->set_value(wrap(std::move(c)));
      }
    } catch (...) {
      std::exchange(_accepting, std::nullopt)->set_exception(std::current_exception());
    }
  }

 private:
  std::shared_ptr<connection> take() {
    auto c = _spare ? std::move(_spare) : std::make_shared<connection>();
    auto handle = driver::local()->tcp().accept(_listener, c->cookie());
    if (!handle) {
      _spare = std::move(c);
      return nullptr;
    }
    c->attach(*handle);
    if (_nodelay) {
      c->tcp().set_nodelay(*handle, true);
    }
    driver::local()->touch();
    return c;
  }
  static accept_result wrap(std::shared_ptr<connection> c) {
    connected_socket s(make_connected_socket(std::move(c)));
    auto remote = s.remote_address();
    return {std::move(s), remote};
  }
  void close() noexcept {
    driver* d = driver::local();
    if (d && _listener) {
      uint16_t port = d->tcp().local(_listener).port;
      d->tcp().release(_listener, d->now());
      d->touch();
      if (_alone) {
        d->retire(port);  // connections outlive their listener
      } else {
        d->ports().release(transport::tcp, port);
      }
    }
    _listener = nullptr;
  }

  net::tcp::listener* _listener = nullptr;
  bool _nodelay;
  bool _alone;  // the port is this shard's
  std::shared_ptr<connection> _spare;
  std::optional<promise<accept_result>> _accepting;
};

}  // namespace

std::unique_ptr<connected_socket_impl> make_connected_socket(std::shared_ptr<connection> c) {
  return std::make_unique<connected>(std::move(c));
}

std::unique_ptr<server_socket_impl> make_server_socket(net::endpoint local, const listen_options& options) {
  return std::make_unique<server>(local, options);
}

}  // namespace solaster::native

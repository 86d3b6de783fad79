#include "framework/socket/native/udp_channel.hh"

#include "framework/socket/native/tcp_socket.hh"
#include "framework/socket/native/wrap.hh"

#include <system_error>

namespace solaster::native {
namespace {

class channel final : public datagram_channel_impl, public event_target {
 public:
  channel(net::endpoint local, datagram_options options) {
    driver& d = *driver::local();
    bool share = local.port != 0 && options.lba == load_balancing::by_flow;
    _socket = open_port<net::udp_socket*>(
        d.ports(), transport::udp, local.port, share, "UDP socket " + to_string(to_socket_address(local)),
        [&] { return d.stack().udp_open(local, cookie(), d.now()); },
        [&](net::udp_socket* s) { return d.stack().udp_local(s).port; },
        [&](net::udp_socket* s) { d.stack().udp_close(s, d.now()); });
    _local = d.stack().udp_local(_socket);
    d.pin(transport::udp, _local.port, true);
  }
  ~channel() { close(); }

  future<solaster::datagram> receive() override {
    if (!usable() || _shut) {
      return make_exception_future<solaster::datagram>(make_error(errc::connaborted, "receive"));
    }
    auto d = driver::local()->stack().udp_receive(_socket);
    if (d) {
      return make_ready_future<solaster::datagram>(wrap(std::move(*d)));
    }
    if (_receiving) {
      return make_exception_future<solaster::datagram>(make_error(errc::busy, "two receivers of one port"));
    }
    return _receiving.emplace().get_future();
  }
  future<> send(const socket_address& dst, temporary_buffer<char> data) override {
    if (!usable()) {
      return make_exception_future<>(make_error(errc::connaborted, "send"));
    }
    if (data.size() > payload_max) {
      return make_exception_future<>(make_error(errc::msgsize, "send"));
    }
    driver& d = *driver::local();
    net::datagram out;
    out.remote = to_endpoint(dst);
    out.payload = d.slab().make();
    if (!out.payload || (!data.empty() && !append(*out.payload, std::move(data)))) {
      return make_exception_future<>(make_error(errc::nomem, "send"));
    }
    auto done = d.stack().udp_send(_socket, std::move(out), d.now());
    d.touch();
    if (!done && done.error() != errc::again) {  // a full queue drops, as a network does
      return make_exception_future<>(make_error(done.error(), "send"));
    }
    return make_ready_future<>();
  }
  void shutdown_input() override {
    _shut = true;
    if (_receiving) {
      std::exchange(_receiving, std::nullopt)->set_exception(make_error(errc::connaborted, "receive"));
    }
  }
  void close() noexcept override {
    if (usable()) {
      driver& d = *driver::local();
      d.stack().udp_close(_socket, d.now());
      d.touch();
      d.pin(transport::udp, _local.port, false);
      d.ports().release(transport::udp, _local.port);
    }
    _socket = nullptr;
    shutdown_input();
  }
  socket_address local_address() const override { return to_socket_address(_local); }

  void on_event(uint32_t) noexcept override {
    net::stack& s = driver::local()->stack();
    while (s.udp_take_error(_socket)) {  // as on Linux, an unconnected socket does not hear of them
    }
    if (!_receiving) {
      return;
    }
    if (auto d = s.udp_receive(_socket)) {
      auto receiver = std::exchange(_receiving, std::nullopt);
      try {
        receiver->set_value(wrap(std::move(*d)));
      } catch (...) {  // no memory: the datagram is lost
        receiver->set_exception(std::current_exception());
      }
    }
  }

 private:
  // RFC 768: what the length field has room for. One fragment has, too.
  static constexpr size_t payload_max = 65507;
  static_assert(payload_max <= send_chunk);

  // False: memory is out.
  static bool append(net::packet& p, temporary_buffer<char> data) noexcept {
    driver& d = *driver::local();
    try {
      fragment_source source(std::move(data), d.memory());
      p.append(source.next());
      d.stats().copied_bytes += source.copied_bytes();
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }
  bool usable() const noexcept { return _socket && driver::local(); }
  static solaster::datagram wrap(net::datagram d) {
    solaster::datagram out;
    out.src = to_socket_address(d.remote);
    out.dst = to_socket_address(d.local);
    out.data = to_temporary_buffer(std::move(d.payload));
    return out;
  }

  net::udp_socket* _socket = nullptr;
  net::endpoint _local;
  bool _shut = false;
  std::optional<promise<solaster::datagram>> _receiving;
};

}  // namespace

std::unique_ptr<datagram_channel_impl> make_channel(socket_address local, datagram_options options) {
  return std::make_unique<channel>(to_endpoint(local), options);
}

}  // namespace solaster::native

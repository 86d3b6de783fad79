#include "framework/socket/native/udp_channel.hh"

#include "framework/reactor/smp.hh"
#include "framework/socket/native/tcp_socket.hh"
#include "framework/socket/native/wrap.hh"

#include <system_error>

namespace solaster::native {
namespace {

constexpr uint8_t protocol_udp = 17;

class channel final : public datagram_channel_impl, public event_target {
 public:
  explicit channel(net::endpoint local) {
    driver& d = *driver::local();
    auto s = d.stack().udp_open(local, cookie(), d.now());
    if (!s) {
      throw std::system_error(int(s.error()), std::generic_category(),
                              "UDP socket " + to_string(to_socket_address(local)));
    }
    _socket = *s;
    _local = d.stack().udp_local(_socket);
    pin(true);
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
    return _receiving.emplace().get_future();
  }
  future<> send(const socket_address& dst, temporary_buffer<char> data) override {
    if (!usable()) {
      return make_exception_future<>(make_error(errc::connaborted, "send"));
    }
    driver& d = *driver::local();
    net::datagram out;
    out.remote = to_endpoint(dst);
    out.payload = d.slab().make();
    if (!out.payload) {
      return make_exception_future<>(make_error(errc::nomem, "send"));
    }
    if (data.size() > 65507) {  // RFC 768: what the length field has room for
      return make_exception_future<>(make_error(errc::msgsize, "send"));
    }
    if (!data.empty()) {
      fragment_source source(std::move(data), d.memory());
      while (net::fragment f = source.next()) {
        out.payload->append(std::move(f));
      }
      d.stats().copied_bytes += source.copied_bytes();
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
      pin(false);
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
      try {
        std::exchange(_receiving, std::nullopt)->set_value(wrap(std::move(*d)));
      } catch (...) {  // the datagram is lost
      }
    }
  }

 private:
  bool usable() const noexcept { return _socket && driver::local(); }
  static solaster::datagram wrap(net::datagram d) {
    solaster::datagram out;
    out.src = to_socket_address(d.remote);
    out.dst = to_socket_address(d.local);
    out.data = to_temporary_buffer(std::move(d.payload));
    return out;
  }
  // Datagrams for this port come to the shards that have it open.
  void pin(bool on) noexcept {
    if (smp::count == 1) {
      return;
    }
    unsigned here = this_shard_id();
    for (unsigned s : smp::all_cpus()) {
      (void)smp::submit_to(s, [port = _local.port, here, on] {
        if (driver* d = driver::local()) {
          d->pin_port(protocol_udp, port, here, on);
        }
      });
    }
  }

  net::udp_socket* _socket = nullptr;
  net::endpoint _local;
  bool _shut = false;
  std::optional<promise<solaster::datagram>> _receiving;
};

}  // namespace

std::unique_ptr<datagram_channel_impl> make_channel(socket_address local) {
  return std::make_unique<channel>(to_endpoint(local));
}

}  // namespace solaster::native

// Linux's own sockets as a network_stack.
#include <sys/socket.h>

#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/posix/connection.hh"
#include "framework/socket/stacks.hh"

namespace solaster {

namespace {

class posix_stack final : public network_stack {
 public:
  std::string_view name() const noexcept override { return "posix"; }

  server_socket listen(socket_address addr, listen_options options) override {
    io_uring_backend* uring = engine().backend().uring();
    bool shared = smp::count > 1 && options.lba == load_balancing::by_flow && addr.port() != 0;
    auto fd = posix::make_listener(addr, options, shared, !uring);
    return server_socket(uring ? posix::make_uring_listener(*uring, std::move(fd), shared)
                               : posix::make_readiness_listener(std::move(fd), shared));
  }

  future<connected_socket> connect(socket_address remote, socket_address local) override {
    try {
      io_uring_backend* uring = engine().backend().uring();
      auto fd = posix::make_socket(SOCK_STREAM | (uring ? 0 : SOCK_NONBLOCK));
      if (!local.is_unspecified()) {
        posix::bind_to(fd.get(), local);
      }
      return uring ? posix::connect_uring(*uring, std::move(fd), remote)
                   : posix::connect_readiness(std::move(fd), remote);
    } catch (...) {
      return make_exception_future<connected_socket>(std::current_exception());
    }
  }

  datagram_channel make_datagram_channel(socket_address local) override {
    auto fd = posix::make_socket(SOCK_DGRAM | SOCK_NONBLOCK);
    posix::bind_to(fd.get(), local);
    return datagram_channel(posix::make_datagram_channel(std::move(fd)));
  }
};

}  // namespace

std::unique_ptr<network_stack> make_posix_stack(const engine_options&) {
  return std::make_unique<posix_stack>();
}

}  // namespace solaster

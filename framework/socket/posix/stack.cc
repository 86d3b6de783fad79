// Linux's own sockets as a network_stack.
#include <sys/socket.h>

#include <cerrno>

#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/posix/connection.hh"
#include "framework/socket/posix/datagram.hh"
#include "framework/socket/posix/listener.hh"
#include "framework/socket/stacks.hh"
#include "framework/sync/abort_source.hh"

namespace solaster {

namespace {

// Whether others may have the address, too.
bool is_shared(const socket_address& a, load_balancing lba) noexcept {
  return smp::count > 1 && lba == load_balancing::by_flow && a.port() != 0;
}

class posix_stack final : public network_stack {
 public:
  std::string_view name() const noexcept override { return "posix"; }

  server_socket listen(socket_address addr, listen_options options) override {
    io_uring_backend* uring = engine().backend().uring();
    auto l = posix::make_listening(addr, options, is_shared(addr, options.lba), !uring);
    return server_socket(uring ? posix::make_uring_listener(*uring, std::move(l))
                               : posix::make_readiness_listener(std::move(l)));
  }

  future<connected_socket> connect(socket_address remote, socket_address local, abort_source* giving_up) override {
    return futurize_invoke([&] {
      if (giving_up && giving_up->abort_was_requested()) {
        posix::throw_error(ECONNABORTED, "connect");
      }
      io_uring_backend* uring = engine().backend().uring();
      auto fd = posix::make_socket(SOCK_STREAM | (uring ? 0 : SOCK_NONBLOCK));
      if (!local.is_unspecified()) {
        posix::bind_to(fd.get(), local);
      }
      return uring ? posix::connect_uring(*uring, std::move(fd), remote, giving_up)
                   : posix::connect_readiness(std::move(fd), remote, giving_up);
    });
  }

  datagram_channel make_datagram_channel(socket_address local, datagram_options options) override {
    auto fd = posix::make_socket(SOCK_DGRAM | SOCK_NONBLOCK);
    if (is_shared(local, options.lba)) {
      posix::shared_address share(fd.get(), SOCK_DGRAM, local);
      return datagram_channel(posix::make_datagram_channel(std::move(fd), std::move(share)));
    }
    posix::bind_to(fd.get(), local);
    return datagram_channel(posix::make_datagram_channel(std::move(fd), {}));
  }
};

}  // namespace

std::unique_ptr<network_stack> make_posix_stack() {
  return std::make_unique<posix_stack>();
}

}  // namespace solaster

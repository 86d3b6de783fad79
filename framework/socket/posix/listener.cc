#include "framework/socket/posix/listener.hh"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "framework/log/log.hh"

namespace solaster::posix {

static logger socket_log("socket");

static listening finish(listening l, const socket_address& a, const listen_options& options) {
  if (::listen(l.fd.get(), options.backlog) != 0) {
    throw_error(errno, ("listen on " + to_string(a)).c_str());
  }
  return l;
}

listening make_listening(const socket_address& a, const listen_options& options, bool shared, bool nonblocking) {
  descriptor owner = make_socket(SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0));
  int fd = owner.get();
  if (options.reuse_address) {
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  }
  if (options.nodelay) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // accepted connections inherit it
  }
  if (shared) {
    shared_address share(fd, SOCK_STREAM, a);
    return finish({std::move(share), std::move(owner)}, a, options);
  }
  bind_to(fd, a);
  return finish({{}, std::move(owner)}, a, options);
}

bool shortage::is_one(int error) noexcept {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

void shortage::tell(int error) noexcept {
  instant now = steady_clock::now();
  if (now >= _next_line) {
    _next_line = now + silence;
    socket_log.warn("no connection can be accepted ({}): new ones wait until others end", std::strerror(error));
  }
}

}  // namespace solaster::posix

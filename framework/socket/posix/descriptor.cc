#include "framework/socket/posix/descriptor.hh"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <system_error>
#include <vector>

namespace solaster::posix {

descriptor::~descriptor() {
  if (_fd >= 0) {
    ::close(_fd);
  }
}

std::exception_ptr make_error(int error, const char* what) noexcept {
  return std::make_exception_ptr(std::system_error(error, std::system_category(), what));
}

void throw_error(int error, const char* what) {
  throw std::system_error(error, std::system_category(), what);
}

sockaddr_in to_kernel(const socket_address& a) noexcept {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(a.v4().port);
  out.sin_addr.s_addr = htonl(a.v4().ip);
  return out;
}

socket_address from_kernel(const sockaddr_in& a) noexcept {
  return ipv4_addr(ntohl(a.sin_addr.s_addr), ntohs(a.sin_port));
}

socket_address read_local_address(int fd) noexcept {
  sockaddr_in a{};
  socklen_t length = sizeof a;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &length) == 0 ? from_kernel(a) : socket_address();
}

socket_address read_remote_address(int fd) noexcept {
  sockaddr_in a{};
  socklen_t length = sizeof a;
  return ::getpeername(fd, reinterpret_cast<sockaddr*>(&a), &length) == 0 ? from_kernel(a) : socket_address();
}

descriptor make_socket(int type) {
  descriptor fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  if (!fd) {
    throw_error(errno, "socket");
  }
  return fd;
}

void bind_to(int fd, const socket_address& a) {
  sockaddr_in k = to_kernel(a);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&k), sizeof k) != 0) {
    throw_error(errno, ("bind " + to_string(a)).c_str());
  }
}

void set_option(int fd, int level, int name, int value) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) {
    throw_error(errno, "setsockopt");
  }
}

int option(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(fd, level, name, &value, &length) != 0) {
    throw_error(errno, "getsockopt");
  }
  return value;
}

namespace {

descriptor listen_on(const socket_address& a, const listen_options& options, bool shared, bool nonblocking) {
  descriptor fd = make_socket(SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0));
  if (options.reuse_address) {
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  }
  if (shared) {
    set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  }
  if (options.nodelay) {
    set_option(fd.get(), IPPROTO_TCP, 1 /* TCP_NODELAY: accepted connections inherit it */, 1);
  }
  bind_to(fd.get(), a);
  if (::listen(fd.get(), options.backlog) != 0) {
    throw_error(errno, ("listen on " + to_string(a)).c_str());
  }
  return fd;
}

// Which shared addresses this process listens on, one entry a listener. SO_REUSEPORT alone would let a second process
// of the same user take half of our connections; so the first listener of an address first makes sure that it is free.
std::mutex shared_lock;
std::vector<socket_address> shared_listeners;

}  // namespace

descriptor make_listener(const socket_address& a, const listen_options& options, bool shared, bool nonblocking) {
  if (!shared || a.port() == 0) {
    return listen_on(a, options, false, nonblocking);
  }
  std::lock_guard guard(shared_lock);
  if (std::find(shared_listeners.begin(), shared_listeners.end(), a) == shared_listeners.end()) {
    listen_on(a, options, false, false);
  }
  shared_listeners.reserve(shared_listeners.size() + 1);
  descriptor fd = listen_on(a, options, true, nonblocking);
  shared_listeners.push_back(a);
  return fd;
}

void forget_listener(const socket_address& a) noexcept {
  std::lock_guard guard(shared_lock);
  auto i = std::find(shared_listeners.begin(), shared_listeners.end(), a);
  if (i != shared_listeners.end()) {
    shared_listeners.erase(i);
  }
}

}  // namespace solaster::posix

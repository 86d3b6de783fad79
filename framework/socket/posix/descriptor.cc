#include "framework/socket/posix/descriptor.hh"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

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
  return ::getsockname(fd, generic(a), &length) == 0 ? from_kernel(a) : socket_address();
}

socket_address read_remote_address(int fd) noexcept {
  sockaddr_in a{};
  socklen_t length = sizeof a;
  return ::getpeername(fd, generic(a), &length) == 0 ? from_kernel(a) : socket_address();
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
  if (::bind(fd, generic(k), sizeof k) != 0) {
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

}  // namespace solaster::posix

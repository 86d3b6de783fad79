// Linux sockets as descriptors: making them, their options, addresses to and from the kernel's form, errno to
// exceptions.
//
// Errors: functions that make something throw std::system_error.
#pragma once

#include <netinet/in.h>

#include <exception>
#include <utility>

#include "framework/socket/api.hh"

namespace solaster::posix {

// Owns a descriptor.
class descriptor {
 public:
  descriptor() noexcept = default;
  explicit descriptor(int fd) noexcept : _fd(fd) {}
  descriptor(descriptor&& o) noexcept : _fd(std::exchange(o._fd, -1)) {}
  descriptor& operator=(descriptor&& o) noexcept {
    std::swap(_fd, o._fd);
    return *this;
  }
  ~descriptor();
  int get() const noexcept { return _fd; }
  int release() noexcept { return std::exchange(_fd, -1); }
  explicit operator bool() const noexcept { return _fd >= 0; }

 private:
  int _fd = -1;
};

std::exception_ptr make_error(int error, const char* what) noexcept;
[[noreturn]] void throw_error(int error, const char* what);

sockaddr_in to_kernel(const socket_address& a) noexcept;
socket_address from_kernel(const sockaddr_in& a) noexcept;
// What the socket calls want an address as.
// SAFETY: they look at the family first, which is AF_INET, and take the length beside it.
inline const sockaddr* generic(const sockaddr_in& a) noexcept {
  return reinterpret_cast<const sockaddr*>(&a);
}
inline sockaddr* generic(sockaddr_in& a) noexcept {
  return reinterpret_cast<sockaddr*>(&a);
}
// Unspecified where the kernel has none.
socket_address read_local_address(int fd) noexcept;
socket_address read_remote_address(int fd) noexcept;

// `type` is SOCK_STREAM or SOCK_DGRAM, with flags.
descriptor make_socket(int type);
void bind_to(int fd, const socket_address& a);

void set_option(int fd, int level, int name, int value);
int option(int fd, int level, int name);

}  // namespace solaster::posix

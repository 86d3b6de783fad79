#include "framework/socket/posix/shared_address.hh"

#include <sys/socket.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "framework/socket/posix/descriptor.hh"

namespace solaster::posix {

namespace {

struct entry {
  int type;
  socket_address address;
  bool operator==(const entry&) const noexcept = default;
};
std::mutex lock;
std::vector<entry> in_use;

}  // namespace

shared_address::shared_address(int fd, int type, const socket_address& a) {
  std::lock_guard guard(lock);
  entry mine{type, a};
  in_use.reserve(in_use.size() + 1);
  bool first = std::find(in_use.begin(), in_use.end(), mine) == in_use.end();
  if (!first) {
    set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  }
  bind_to(fd, a);
  if (first) {
    set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  }
  in_use.push_back(mine);
  _type = type;
  _address = a;
}

shared_address::shared_address(shared_address&& o) noexcept
    : _type(std::exchange(o._type, 0)), _address(std::exchange(o._address, {})) {}

shared_address::~shared_address() {
  if (_type == 0) {
    return;
  }
  std::lock_guard guard(lock);
  in_use.erase(std::find(in_use.begin(), in_use.end(), entry{_type, _address}));
}

}  // namespace solaster::posix

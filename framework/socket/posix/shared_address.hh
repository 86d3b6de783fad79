// One address for several shards: each has a socket of its own, and the kernel deals connections (datagrams) out by the
// hash of the flow.
//
// SO_REUSEPORT alone would also let a second process of the same user take a part of them. So the first socket of an
// address is bound without the option, which only succeeds where nobody else is, and gets it afterwards; those that
// follow are let in because it has it.
//
// Owns: a process-wide list of the addresses in use, one entry a socket. Context: any thread.
#pragma once

#include "framework/socket/address.hh"

namespace solaster::posix {

// Stands for one socket's share of an address, from bind to the socket's end.
class shared_address {
 public:
  shared_address() noexcept = default;
  // Binds `fd`, a socket of `type` (SOCK_STREAM, SOCK_DGRAM). Throws std::system_error.
  shared_address(int fd, int type, const socket_address& a);
  shared_address(shared_address&& o) noexcept;
  shared_address& operator=(shared_address&&) = delete;
  ~shared_address();

 private:
  int _type = 0;  // 0: of nothing
  socket_address _address;
};

}  // namespace solaster::posix

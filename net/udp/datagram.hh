// What goes over the door for UDP: datagrams, and errors about those that were sent.
#pragma once

#include <cstdint>

#include "net/base/result.hh"
#include "net/packet/packet.hh"
#include "net/wire/address.hh"

namespace solaster::net {

// A datagram in or out: payload without headers.
struct datagram {
  endpoint local;  // out: address any: the interface's
  endpoint remote;
  packet_ptr payload;
};

// An ICMP error about a datagram that was sent.
struct udp_error {
  endpoint remote;
  errc error = errc::hostunreach;
  uint32_t mtu = 0;  // with msgsize: what fits
};

}  // namespace solaster::net

// What IP offers a transport with connections: `ipv4` is it, the tests have others.
#pragma once

#include <cstdint>

#include "net/base/result.hh"
#include "net/base/time.hh"
#include "net/packet/packet.hh"
#include "net/wire/address.hh"

namespace solaster::net {

// Where packets to a peer go.
struct path {
  ip_address source;
  uint16_t mtu = 1500;       // of the IP packet
  bool tx_checksum = false;  // leave the checksum partial
  uint32_t gso_max = 0;      // largest TCP payload + headers the device cuts; 0: none
};

// What a transport with connections needs from IP.
class ip_output {
 public:
  virtual ~ip_output() = default;
  // The path to `destination`; `source` fixes the local address unless it is any. netunreach, addrnotavail.
  virtual result<path> find_path(ip_address destination, ip_address source) noexcept = 0;
  // A packet of one fragment of size 0 with room for the lower headers in front and `payload_room` bytes behind
  // (packet::extend; the TCP header counts as payload here). Null: no memory.
  virtual packet_ptr make_packet(uint32_t payload_room) noexcept = 0;
  // Whether `send` would take a packet now; false: stop, transmit() comes again when there is room.
  virtual bool ready() noexcept = 0;
  // Sends a TCP segment (header in the first fragment; checksum field filled: complete, or pseudo-header sum with
  // offload marked partial, checksum_start relative to the TCP header).
  virtual void send(ip_address source, ip_address destination, packet_ptr segment, instant now) noexcept = 0;
  // Picks a local port for an active open such that the flow's shard is this one, and not in use by `used(tuple)`.
  virtual result<uint16_t> choose_port(ip_address local, endpoint remote,
                                       bool (*used)(void*, const four_tuple&) noexcept, void* context) noexcept = 0;
};

}  // namespace solaster::net

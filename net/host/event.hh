// What a stack tells its host. Polled, never called back; coalesced: an object is in the queue at most once, its bits
// gather until it is polled. A bit is a hint that something changed, the truth is in the object.
#pragma once

#include <cstdint>

#include "net/base/result.hh"
#include "net/wire/address.hh"

namespace solaster::net {

namespace tcp {
class connection;
class listener;
}  // namespace tcp
class udp_socket;

enum class event_kind : uint8_t { connection, listener, udp, address_configured, address_lost, neighbour_learned };

// Bits for event_kind::connection.
enum connection_event : uint32_t {
  connection_established = 1,  // an active open succeeded
  connection_readable = 2,     // data, or the peer's FIN, arrived
  connection_writable = 4,     // send buffer went below its low-water mark after a send came back short
  connection_failed = 8,       // reset, timed out, refused: see connection error
  connection_closed = 16,      // everything sent and acknowledged both ways, or given up: only release() is left
  connection_sent = 32,        // all data handed to send() so far is acknowledged (after layer::watch_sent)
};

// Bits for event_kind::udp.
enum udp_event : uint32_t {
  udp_readable = 1,  // a datagram waits
  udp_failed = 2,    // an ICMP error came: see udp_take_error
};

struct event {
  event_kind kind = event_kind::connection;
  uint32_t bits = 0;
  union {
    tcp::connection* connection = nullptr;
    tcp::listener* listener;  // a connection waits in its accept queue
    udp_socket* udp;
  };
  void* cookie = nullptr;  // the host's, of that object
  // neighbour_learned, address_configured: what to tell the other shards' stacks (neighbour_learned with its bits)
  ip_address address;
  mac_address mac;
  uint8_t prefix_length = 0;
  ip_address gateway;
};

}  // namespace solaster::net

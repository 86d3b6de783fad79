// UDP sockets of one shard.
//
// A socket is bound to a port and, perhaps, an address; a datagram goes to the socket of its port. Received payload is
// handed up in the buffers it came in, small payloads in right-sized memory; the queue is bounded in bytes that are
// really pinned.
//
// Spec: RFC 768, RFC 1122 4.1. Owns: sockets, queued datagrams. Borrows: ip, link, events, stats.
// Limits: stack_config::udp_sockets_max, udp_receive_bytes_max. Context: shard-local; allocates sockets and copies.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "net/base/prng.hh"
#include "net/host/config.hh"
#include "net/host/event_queue.hh"
#include "net/host/stats.hh"
#include "net/ip/icmp.hh"
#include "net/ip/ipv4.hh"
#include "net/udp/datagram.hh"
#include "net/wire/udp.hh"

namespace solaster::net {

class udp_socket {
 public:
  // Of a queued payload.
  struct addresses {
    endpoint remote;
    ipv4_address local;
  };
  explicit udp_socket(endpoint l) noexcept : local(l), source(event_kind::udp, this) {}
  endpoint local;  // address any: all of ours
  event_source source;
  packet_list queue;               // payloads, with an `addresses` each as note
  uint32_t charge = 0;             // of everything in queue
  std::optional<udp_error> error;  // the last ICMP error about what was sent
  udp_socket* next = nullptr;      // in its bucket
};

class udp_layer {
 public:
  udp_layer(const stack_config& config, memory& m, packet_slab& slab, link& l, ipv4& ip, event_queue& events,
            stack_stats& stats) noexcept;
  ~udp_layer();
  udp_layer(const udp_layer&) = delete;

  result<udp_socket*> open(endpoint local, void* cookie) noexcept;
  void close(udp_socket* s) noexcept;
  result<> send(udp_socket* s, datagram d, instant now) noexcept;
  result<datagram> receive(udp_socket* s) noexcept;

  // A datagram to us: IP header removed. Gives it back if nobody has the port.
  packet_ptr input(ipv4_address source, ipv4_address destination, packet_ptr p) noexcept;
  void icmp_error(const icmp_report& report) noexcept;
  // Sockets that are bound to it get the error addrnotavail.
  void address_gone(ipv4_address address) noexcept;

  // Header and checksum in front of a payload.
  bool add_header(packet& p, endpoint source, endpoint destination) noexcept;
  bool is_valid() const noexcept;

 private:
  static constexpr uint32_t buckets = 256;
  udp_socket* find(ipv4_address destination, uint16_t port) noexcept;
  bool taken(endpoint local) noexcept;
  result<path> find_way(ipv4_address to, ipv4_address from) noexcept;
  void keep(udp_socket* s, packet_ptr payload) noexcept;

  const stack_config& _config;
  memory& _memory;
  packet_slab& _slab;
  link& _link;
  ipv4& _ip;
  event_queue& _events;
  stack_stats& _stats;
  prng _random;
  uint32_t _count = 0;
  std::array<udp_socket*, buckets> _table{};
};

}  // namespace solaster::net

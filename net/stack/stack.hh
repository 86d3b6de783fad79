// One shard's network stack: the only door to net/.
//
// Sans-IO: the stack is fed packets and time and is asked for packets, events and the next deadline. It never calls
// into its host but for memory and the transmit sink. The order of calls is part of the contract:
//
//     events in     receive(...) · expire(now)                  any number, then
//     commands      tcp().connect/listen/send/consume/close..., udp_*                    any number, then
//     effects out   transmit(sink, now) · next_event() until none · next_deadline()      polled in this order
//
// After handling events (which gives commands) the host polls the effects again, until there is nothing new: an ACK
// then rides on the answer. A packet lives on one shard; a packet that belongs to another shard is found by
// `steering::classify` (no state is touched) before `receive`.
//
// Spec: RFC 791, 792, 826, 768, 1122, 2131, 9293. Owns: neighbours, routes, sockets. Borrows: memory, packet_slab.
// Context: shard-local. Errors: wire errors are drops with a reason; commands give result<T>. Limits: stack_config.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "net/base/memory.hh"
#include "net/base/result.hh"
#include "net/base/time.hh"
#include "net/device/steering.hh"
#include "net/host/config.hh"
#include "net/host/event.hh"
#include "net/host/interface.hh"
#include "net/host/stats.hh"
#include "net/packet/packet.hh"
#include "net/tcp/layer.hh"
#include "net/udp/datagram.hh"
#include "net/wire/address.hh"

namespace solaster::net {

class udp_socket;

class stack {
 public:
  // Null: no memory. The stack lives in memory from `m`.
  static stack* make(const stack_config& config, const steering& steer, memory& m, packet_slab& slab,
                     instant now) noexcept;
  static void destroy(stack* s) noexcept;

  // --- configuration
  void set_interface(const interface_config& config) noexcept;  // one Ethernet interface a stack, so far
  // Connections of an address that is no longer ours fail with connaborted, its datagram sockets are told.
  void set_address(const address_config& config, instant now) noexcept;
  void clear_address(instant now) noexcept;  // another shard's address_lost event
  std::optional<address_config> address() const noexcept;
  // Asks for the gateway's Ethernet address now, for a server: a burst of first connections comes through it, and no
  // more than stack_config::neighbour_queue_max answers may wait for it.
  void resolve_gateway(instant now) noexcept;
  void start_dhcp(instant now) noexcept;  // shard 0; ends in an address_configured event
  // From another shard's neighbour_learned event; `bits` are the event's.
  void learn_neighbour(ipv4_address address, mac_address mac, instant now, uint32_t bits = 0) noexcept;

  // --- events in
  void receive(packet_list&& packets, instant now) noexcept;  // Ethernet frames
  void expire(instant now) noexcept;

  // --- commands: TCP
  tcp::layer& tcp() noexcept { return *_tcp; }
  // --- commands: UDP
  result<udp_socket*> udp_open(endpoint local, void* cookie, instant now) noexcept;  // port 0: chosen; addrinuse
  endpoint udp_local(const udp_socket* s) const noexcept;
  result<> udp_send(udp_socket* s, datagram d, instant now) noexcept;  // msgsize, netunreach, again
  result<datagram> udp_receive(udp_socket* s) noexcept;                // again: none
  std::optional<udp_error> udp_take_error(udp_socket* s) noexcept;
  void udp_close(udp_socket* s, instant now) noexcept;

  // --- effects out
  void transmit(transmit_sink& sink, instant now) noexcept;
  std::optional<event> next_event() noexcept;
  instant next_deadline() const noexcept;

  const stack_stats& stats() const noexcept;
  bool is_valid() const noexcept;

 private:
  stack() = default;
  ~stack() = default;
  struct impl;
  impl* _impl = nullptr;
  tcp::layer* _tcp = nullptr;  // of _impl; here so that tcp() is not a call
};

}  // namespace solaster::net

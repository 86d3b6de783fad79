// A DHCP client as a state machine: it is given replies and time, and says what to send and what address we have.
//
// Spec: RFC 2131 4.4, figure 5; option values by RFC 2132. The address is not probed before use (RFC 2131 2.2 SHOULD),
// and the start is not delayed at random (4.4.1 SHOULD): a server boots in milliseconds here. Units: seconds on the
// wire, instants inside. Context: shard 0.
#pragma once

#include <cstdint>
#include <optional>

#include "net/base/prng.hh"
#include "net/base/time.hh"
#include "net/host/config.hh"
#include "net/wire/dhcp.hh"

namespace solaster::net {

struct dhcp_lease {
  ipv4_address address;
  uint8_t prefix_length = 24;
  ipv4_address gateway;
  bool operator==(const dhcp_lease&) const = default;
};

class dhcp_client {
 public:
  enum class state : uint8_t { off, selecting, requesting, bound, renewing, rebinding };
  enum class change : uint8_t { none, acquired, lost };

  struct message {
    dhcp_query query;
    ipv4_address source, destination;  // destination broadcast, or the server
  };

  dhcp_client(const stack_config& config, uint64_t seed) noexcept : _config(config), _random(seed) {}

  void start(const mac_address& mac, instant now) noexcept;
  void stop() noexcept {
    _state = state::off;
    _deadline = instant::never();
    _send = false;
  }
  // A reply that came to the client port.
  change input(const dhcp_reply& reply, instant now) noexcept;
  change expire(instant now) noexcept;
  instant next_deadline() const noexcept { return _deadline; }
  // What is to be sent, once. Ask after each of the above.
  std::optional<message> take_message(instant now) noexcept;

  // This address is ours by a lease.
  bool holds(ipv4_address a) const noexcept {
    return (_state == state::bound || _state == state::renewing || _state == state::rebinding) && _lease.address == a;
  }
  state phase() const noexcept { return _state; }
  const dhcp_lease& lease() const noexcept { return _lease; }  // from acquired to lost

 private:
  void enter(state s, instant now) noexcept;
  void retry_at(instant now) noexcept;
  bool answers_us(const dhcp_reply& reply) const noexcept;
  change acquire(const dhcp_reply& reply, instant now) noexcept;

  const stack_config& _config;
  prng _random;
  state _state = state::off;
  bool _send = false;
  mac_address _mac;
  uint32_t _xid = 0;
  uint32_t _tries = 0;              // messages sent in this state
  duration _interval;               // before the next retransmission, without jitter
  instant _started, _requested_at;  // of the exchange; of the request that an ACK answers
  instant _deadline = instant::never();
  ipv4_address _offered, _server;
  dhcp_lease _lease;
  instant _renew, _rebind, _expiry;  // T1 <= T2 <= end of the lease
};

}  // namespace solaster::net

// What the demultiplexer finds: the common head of connections, half-open connections and TIME-WAIT entries.
#pragma once

#include <cstdint>

#include "net/base/time.hh"
#include "net/tcp/list.hh"
#include "net/tcp/seq.hh"
#include "net/wire/address.hh"

namespace solaster::net::tcp {

class listener;

enum class flow_kind : uint8_t { connection, half_open, time_wait };

// A four-tuple as two words: compared and hashed without taking it apart.
struct flow_key {
  uint64_t addresses = 0;  // local << 32 | remote
  uint64_t ports = 0;      // local << 16 | remote
  constexpr bool operator==(const flow_key&) const noexcept = default;

  static constexpr flow_key of(ip_address local, uint16_t local_port, ip_address remote,
                               uint16_t remote_port) noexcept {
    return {uint64_t(local.value) << 32 | remote.value, uint64_t(local_port) << 16 | remote_port};
  }
  static constexpr flow_key of(const four_tuple& t) noexcept {
    return of(t.local.address, t.local.port, t.remote.address, t.remote.port);
  }
  constexpr ip_address local() const noexcept { return {uint32_t(addresses >> 32)}; }
  constexpr ip_address remote() const noexcept { return {uint32_t(addresses)}; }
  constexpr uint16_t local_port() const noexcept { return uint16_t(ports >> 16); }
  constexpr uint16_t remote_port() const noexcept { return uint16_t(ports); }
  constexpr four_tuple tuple() const noexcept { return {{local(), local_port()}, {remote(), remote_port()}}; }
};

struct flow {
  flow(flow_kind k, const flow_key& key_) noexcept : key(key_), kind(k) {}
  flow(const flow&) = delete;

  flow_key key;
  flow* hash_next = nullptr;
  uint32_t hash = 0;
  uint32_t challenge_epoch = 0;  // when `challenges` began to count, in challenge_interval
  flow_kind kind;
  bool in_table = false;
  uint8_t challenges = 0;  // challenge ACKs sent since then
};

// SYN-RECEIVED of a passive open: a SYN costs this much memory and no more (RFC 4987).
struct half_open : flow {
  half_open(const flow_key& key_) noexcept : flow(flow_kind::half_open, key_) {}

  list_link<half_open> link;  // in the list of its retry count
  tcp::listener* owner = nullptr;
  instant deadline;  // of the next SYN-ACK
  instant sent;      // the first SYN-ACK; a round trip is measured only when it was the only one
  seq irs, iss;
  uint16_t peer_mss = 0;     // of its SYN; 0: none
  uint16_t mtu = 0;          // of the path
  int8_t snd_scale = -1;     // the peer's; -1: it does not scale
  uint8_t retries = 0;       // SYN-ACKs sent because the deadline struck
  uint8_t rcv_scale = 0;     // ours, as the SYN-ACK said it
  bool asked_again = false;  // the SYN came again: it or our answer was lost
};

// TIME-WAIT: enough to answer a late FIN and to keep old duplicates from a new connection. All wait equally long, so a
// list ordered by arrival is ordered by deadline.
struct time_wait : flow {
  time_wait(const flow_key& key_) noexcept : flow(flow_kind::time_wait, key_) {}

  list_link<time_wait> link;
  instant deadline;
  seq snd_nxt, rcv_nxt;
  seq rcv_end;          // right edge of the window last advertised
  uint16_t window = 0;  // its field
};

}  // namespace solaster::net::tcp

// Who has which Ethernet address: the ARP cache of one shard.
//
// An entry is asked for when first needed (packets wait in it, bounded), believed for a while, then asked again by
// unicast if it was used; what does not answer is forgotten. Only a request that is addressed to us makes an entry that
// we did not ask for; anything else only updates entries (RFC 826's merge flag).
//
// Shards: each asks for itself, but ARP is received by shard 0. It tells the others by neighbour_learned events, which
// come in as learn(): of what is new, and of every message that is addressed to us or announces its sender, even where
// it says what shard 0 knows already, because another may have asked or believe something else.
//
// Spec: RFC 826; RFC 1122 2.3.2. Owns: entries, waiting packets. Borrows: link, events, stats.
// Limits: stack_config::neighbours_max, neighbour_queue_max, neighbour_tries_max. Context: shard-local; allocates
// entries.
#pragma once

#include <array>
#include <cstdint>

#include "net/base/siphash.hh"
#include "net/base/time.hh"
#include "net/host/event_queue.hh"
#include "net/ip/link.hh"
#include "net/wire/address.hh"
#include "net/wire/arp.hh"

namespace solaster::net {

// Bits of a neighbour_learned event, to be passed on with it.
enum neighbour_event : uint32_t {
  neighbour_new = 1,     // make an entry where there is none
  neighbour_update = 2,  // confirm what is there
};

struct neighbour {
  enum class state : uint8_t {
    incomplete,  // asked by broadcast; mac unknown; packets wait
    reachable,   // mac known until `deadline`
    probing,     // mac still used; asked by unicast
  };

  explicit neighbour(ipv4_address a) noexcept : address(a), learned(event_kind::neighbour_learned, this) {}
  bool usable() const noexcept { return phase != state::incomplete; }

  ipv4_address address;
  mac_address mac;
  state phase = state::incomplete;
  bool used = false;  // a packet was sent to it since it was last confirmed
  uint8_t tries = 0;  // requests sent in this phase
  instant deadline;   // of this phase
  instant confirmed;
  packet_list waiting;  // IP packets; empty unless incomplete
  event_source learned;
  neighbour* in_bucket = nullptr;                // next in its bucket
  neighbour *older = nullptr, *newer = nullptr;  // all entries, by time of creation or confirmation
};

class neighbour_cache {
 public:
  neighbour_cache(const stack_config& config, link& l, event_queue& events, stack_stats& stats) noexcept;
  ~neighbour_cache();
  neighbour_cache(const neighbour_cache&) = delete;

  void set_address(ipv4_address own) noexcept { _own = own; }

  // The entry, if its mac may be used now. The pointer and the mac hold while generation() stays.
  neighbour* find_usable(ipv4_address address) noexcept;
  // Changes whenever an entry goes away or changes its mac.
  uint32_t generation() const noexcept { return _generation; }
  void invalidate() noexcept { ++_generation; }

  // Sends an IP packet to a neighbour, or keeps it until the neighbour has answered.
  void send(ipv4_address next_hop, packet_ptr p, instant now) noexcept;
  // Asks for an address before the first packet needs it, unless it is known.
  void resolve(ipv4_address address, instant now) noexcept;
  // An ARP message that check() has accepted.
  void input(const arp_view& arp, instant now) noexcept;
  // From another shard; bits of neighbour_event.
  void learn(ipv4_address address, const mac_address& mac, uint32_t bits, instant now) noexcept;
  // Tells the network about our address (RFC 5227 2.3).
  void announce() noexcept;

  void expire(instant now) noexcept;
  instant next_deadline() const noexcept { return _deadline; }
  bool has_unresolved() const noexcept { return !_unresolved.empty(); }
  // Packets that waited in vain since the last call.
  packet_list take_unresolved() noexcept { return std::move(_unresolved); }

  uint32_t size() const noexcept { return _count; }
  void clear() noexcept;
  bool is_valid() const noexcept;

  // An update for other shards about an address that is not in this cache (event_source::object of kind
  // neighbour_learned is an `announcement` or a `neighbour`: describe() tells).
  struct learned_fact {
    ipv4_address address;
    mac_address mac;
  };
  learned_fact describe(const event_source& s) const noexcept;

 private:
  struct announcement {
    event_source learned{event_kind::neighbour_learned, this};
    learned_fact fact;
  };
  static constexpr uint32_t buckets = 256;

  neighbour*& bucket_of(ipv4_address a) noexcept { return _table[keyed_mix(_key, a.value, 0) % buckets]; }
  neighbour* find(ipv4_address a) noexcept;
  neighbour* add(ipv4_address a, instant now) noexcept;
  void remove(neighbour* n) noexcept;
  void link_newest(neighbour* n) noexcept;
  void unlink(neighbour* n) noexcept;
  void confirm(neighbour* n, const mac_address& mac, instant now) noexcept;
  void ask(neighbour* n, instant now) noexcept;
  void advance(neighbour* n, instant now) noexcept;
  void send_arp(arp_operation op, const mac_address& to, const mac_address& target_mac, ipv4_address target) noexcept;
  void tell_others(neighbour* n, ipv4_address a, const mac_address& mac) noexcept;
  void set_deadline(neighbour* n, instant at) noexcept;

  const stack_config& _config;
  link& _link;
  event_queue& _events;
  stack_stats& _stats;
  hash_key _key;
  ipv4_address _own;
  uint32_t _generation = 1;
  uint32_t _count = 0;
  instant _deadline = instant::never();  // no entry's deadline is earlier
  neighbour *_oldest = nullptr, *_newest = nullptr;
  packet_list _unresolved;
  std::array<neighbour*, buckets> _table{};
  std::array<announcement, 8> _announcements;
};

}  // namespace solaster::net

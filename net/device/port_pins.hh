// Ports whose packets do not go by their flow, because only some shards have a socket for them.
//
// Each shard that steers has a table of its own, all with the same contents: who opens or closes a socket tells them
// all. A port that no shard has any more leaves the table. Looking up costs the same whatever is in it.
//
// Context: shard-local; allocates nothing. Errors: see pin(). Limits: pins_max ports, 64 shards.
#pragma once

#include <array>
#include <cstdint>

#include "net/base/result.hh"

namespace solaster::net {

class port_pins {
 public:
  static constexpr uint32_t pins_max = 1024;
  static constexpr uint32_t shards_max = 64;

  // `shard` has a socket for the port. Several shards may have one only if all of them `share` it (their packets go by
  // flow then); else addrinuse. nobufs: pins_max other ports are pinned.
  result<> pin(uint8_t protocol, uint16_t port, uint32_t shard, bool share) noexcept;
  // It has no longer. Nothing happens if it had none.
  void unpin(uint8_t protocol, uint16_t port, uint32_t shard) noexcept;

  // Where a packet goes that its flow would send to shard `by_flow`: there if that shard has a socket or nobody has,
  // else to the lowest that has one.
  uint32_t shard_for(uint8_t protocol, uint16_t port, uint32_t by_flow) const noexcept {
    if (_count == 0) [[likely]]
      return by_flow;
    const slot& s = _slots[find(protocol, port)];
    return s.shards == 0 || (s.shards >> by_flow & 1) ? by_flow : uint32_t(__builtin_ctzll(s.shards));
  }

  uint32_t size() const noexcept { return _count; }
  bool is_valid() const noexcept;

 private:
  // Open addressing, at most half full: a look-up ends at the port or at the first slot without shards.
  static constexpr uint32_t slots = 2 * pins_max;
  struct slot {
    uint64_t shards = 0;  // a bit each; 0: empty
    uint16_t port = 0;
    uint8_t protocol = 0;
    bool shared = false;
  };
  static uint32_t home(uint8_t protocol, uint16_t port) noexcept {
    return ((uint32_t(protocol) << 16 | port) * 0x9e3779b1u >> 16) % slots;
  }
  uint32_t find(uint8_t protocol, uint16_t port) const noexcept {
    uint32_t i = home(protocol, port);
    while (_slots[i].shards && (_slots[i].port != port || _slots[i].protocol != protocol))
      i = (i + 1) % slots;
    return i;
  }
  void erase(uint32_t at) noexcept;

  std::array<slot, slots> _slots{};
  uint32_t _count = 0;
};

}  // namespace solaster::net

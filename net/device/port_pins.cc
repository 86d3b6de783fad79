#include "net/device/port_pins.hh"

#include "net/base/check.hh"

namespace solaster::net {

result<> port_pins::pin(uint8_t protocol, uint16_t port, uint32_t shard, bool share) noexcept {
  CHECK(shard < shards_max);
  const uint64_t bit = uint64_t(1) << shard;
  slot& s = _slots[find(protocol, port)];
  if (s.shards) {
    if (s.shards != bit && !(share && s.shared))
      return errc::addrinuse;
    s.shards |= bit;
    s.shared &= share;
    return {};
  }
  if (_count == pins_max)
    return errc::nobufs;
  s = {.shards = bit, .port = port, .protocol = protocol, .shared = share};
  ++_count;
  DCHECK(is_valid());
  return {};
}

void port_pins::unpin(uint8_t protocol, uint16_t port, uint32_t shard) noexcept {
  CHECK(shard < shards_max);
  const uint32_t at = find(protocol, port);
  slot& s = _slots[at];
  if (!s.shards)
    return;
  s.shards &= ~(uint64_t(1) << shard);
  if (!s.shards)
    erase(at);
}

// Empties a slot; those behind it that could have stood there move up, so that no look-up ends too early.
void port_pins::erase(uint32_t at) noexcept {
  --_count;
  for (uint32_t i = (at + 1) % slots; _slots[i].shards; i = (i + 1) % slots) {
    const uint32_t wanted = home(_slots[i].protocol, _slots[i].port);
    if ((i - wanted) % slots >= (i - at) % slots) {
      _slots[at] = _slots[i];
      at = i;
    }
  }
  _slots[at] = {};
  DCHECK(is_valid());
}

bool port_pins::is_valid() const noexcept {
  uint32_t count = 0;
  for (uint32_t i = 0; i < slots; ++i) {
    const slot& s = _slots[i];
    if (!s.shards)
      continue;
    if (++count > pins_max || find(s.protocol, s.port) != i)
      return false;
    if ((s.shards & (s.shards - 1)) && !s.shared)
      return false;
  }
  return count == _count;
}

}  // namespace solaster::net

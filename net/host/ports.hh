// The search for a free local port, the same for all who choose one.
#pragma once

#include <cstdint>

#include "net/base/result.hh"

namespace solaster::net {

// The first port that is free of [min, max], from the `first`-th on and round (RFC 6056: where to begin is a secret, or
// random). addrinuse: none is.
template <class IsFree>
result<uint16_t> find_port(uint16_t min, uint16_t max, uint32_t first, IsFree&& is_free) noexcept {
  const uint32_t count = max > min ? uint32_t(max) - min + 1 : 1;
  for (uint32_t i = 0; i < count; ++i) {
    const auto port = uint16_t(min + (uint64_t(first) + i) % count);
    if (is_free(port))
      return port;
  }
  return errc::addrinuse;
}

}  // namespace solaster::net

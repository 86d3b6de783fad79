// Initial sequence numbers that an outsider cannot guess: M + F(four-tuple, secret).
// Spec: RFC 6528 3; RFC 9293 3.4.1 (M ticks every 4 microseconds).
#pragma once

#include "net/base/siphash.hh"
#include "net/base/time.hh"
#include "net/tcp/flow.hh"
#include "net/tcp/seq.hh"

namespace solaster::net::tcp {

inline seq initial_sequence(hash_key secret, const flow_key& key, instant now) noexcept {
  const uint64_t words[] = {key.addresses, key.ports};
  return seq(uint32_t(siphash24(secret, words)) + uint32_t(uint64_t(now.ns) / 4000));
}

}  // namespace solaster::net::tcp

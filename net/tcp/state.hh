// The states of a connection, and the questions asked about them.
//
// LISTEN, SYN-RECEIVED of a passive open and TIME-WAIT are objects of their own (listener.hh, flow.hh): smaller than a
// connection. A `connection` in `closed` is only kept for its handle.
// Spec: RFC 9293 3.3.2.
#pragma once

#include <cstdint>

namespace solaster::net::tcp {

enum class state : uint8_t {
  closed,
  syn_sent,
  syn_received,  // of a simultaneous open
  established,
  fin_wait_1,
  fin_wait_2,
  close_wait,
  closing,
  last_ack,
};

// The peer may still send data.
constexpr bool may_receive(state s) noexcept {
  return s == state::established || s == state::fin_wait_1 || s == state::fin_wait_2;
}
// The application may still hand over data.
constexpr bool may_send(state s) noexcept {
  return s == state::syn_sent || s == state::syn_received || s == state::established || s == state::close_wait;
}
// SYNs are exchanged both ways.
constexpr bool synchronized(state s) noexcept {
  return s >= state::established;
}

}  // namespace solaster::net::tcp

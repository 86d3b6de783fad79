// Loss recovery without SACK: when is a segment lost, and until when does that episode last.
//
// Spec: RFC 5681 3.2 (fast retransmit), RFC 6582 (NewReno), RFC 3042 (limited transmit).
#pragma once

#include <algorithm>
#include <cstdint>

#include "net/tcp/seq.hh"

namespace solaster::net::tcp {

struct recovery_state {
  static constexpr uint32_t duplicate_threshold = 3;

  uint32_t duplicate_acks = 0;      // in a row, for snd_una
  bool active = false;              // in fast recovery: until snd_una reaches `recover`
  bool partial_seen = false;        // the retransmission timer was restarted once in this episode
  bool has_recover = false;         // `recover` means something
  bool recover_by_timeout = false;  // `recover` was set by a timeout
  bool after_timeout = false;       // resending after a timeout, until snd_una reaches `recover`
  seq recover;                      // snd_max when the last episode (or timeout) began

  // Segments that limited transmit lets out beyond the congestion window.
  uint32_t extra_segments() const noexcept { return active ? 0 : std::min(duplicate_acks, 2u); }
};

}  // namespace solaster::net::tcp

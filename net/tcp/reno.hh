// Reno's congestion window. What was lost and when is recovery.hh's business.
//
// Spec: RFC 5681 3.1, 3.2, 4.1; RFC 6928 (initial window); growth counts bytes, not ACKs (RFC 3465), because a peer
// behind receive offload acknowledges many segments at once. Units: bytes.
#pragma once

#include <algorithm>
#include <cstdint>

namespace solaster::net::tcp {

class reno {
 public:
  void start(uint32_t mss, uint32_t initial_segments) noexcept {
    _initial = mss * initial_segments;
    _cwnd = _initial;
  }
  // RFC 5681 3.1: one segment where the handshake lost one.
  void lost_syn(uint32_t mss) noexcept { _cwnd = mss; }

  uint32_t cwnd() const noexcept { return _cwnd; }
  uint32_t ssthresh() const noexcept { return _ssthresh; }

  // New data acknowledged outside recovery. `after_timeout`: of data sent before a retransmission timeout, whose ACK
  // may jump over what the peer already had: that is no reason for a burst.
  void acknowledged(uint32_t bytes, uint32_t mss, bool after_timeout) noexcept {
    if (_cwnd < _ssthresh) {
      _cwnd = std::min(_cwnd + (after_timeout ? std::min(bytes, mss) : bytes), cwnd_max);
      return;
    }
    _credit += bytes;
    if (_credit >= _cwnd) {
      _credit -= _cwnd;
      _cwnd = std::min(_cwnd + mss, cwnd_max);
    }
  }
  // RFC 5681 3.2 steps 2, 3: the third duplicate ACK.
  void enter_recovery(uint32_t flight, uint32_t mss) noexcept {
    _ssthresh = std::max(flight / 2, 2 * mss);
    _cwnd = _ssthresh + 3 * mss;
    _credit = 0;
  }
  // A further duplicate ACK: a segment has left the network.
  void inflate(uint32_t mss) noexcept { _cwnd = std::min(_cwnd + mss, cwnd_max); }
  // RFC 6582 3.2 step 3, partial: deflate by what was acknowledged, but for one segment.
  void partial(uint32_t bytes, uint32_t mss) noexcept {
    _cwnd -= std::min(bytes, _cwnd - std::min(_cwnd, mss));
    if (bytes >= mss) {
      _cwnd += mss;
    }
  }
  // RFC 6582 3.2 step 3, full: no burst after recovery.
  void leave_recovery(uint32_t flight, uint32_t mss) noexcept {
    _cwnd = std::min(_ssthresh, std::max(flight, mss) + mss);
  }
  // RFC 5681 3.1, equation 4. Only the first timeout of a segment lowers ssthresh.
  void timeout(uint32_t flight, uint32_t mss, bool first) noexcept {
    if (first) {
      _ssthresh = std::max(flight / 2, 2 * mss);
    }
    _cwnd = mss;
    _credit = 0;
  }
  // RFC 5681 4.1: nothing sent for longer than an RTO.
  void idle() noexcept { _cwnd = std::min(_cwnd, _initial); }

 private:
  static constexpr uint32_t cwnd_max = 1u << 30;

  uint32_t _cwnd = 0;
  uint32_t _ssthresh = cwnd_max;
  uint32_t _initial = 0;
  uint32_t _credit = 0;  // bytes acknowledged since cwnd last grew, in congestion avoidance
};

}  // namespace solaster::net::tcp

// Round-trip time and retransmission timeout of one connection.
//
// One segment at a time is timed (there are no timestamps yet), never a retransmitted one (Karn).
// Spec: RFC 6298. Units: nanoseconds, scaled as Jacobson's paper does so that the means need no division.
#pragma once

#include <algorithm>
#include <cstdint>

#include "net/base/time.hh"
#include "net/host/config.hh"

namespace solaster::net::tcp {

class rtt_estimator {
 public:
  explicit rtt_estimator(const tcp_config& config) noexcept : _rto(config.rto_initial) {}

  // RFC 6298 2.2, 2.3: SRTT += (R - SRTT) / 8, RTTVAR += (|SRTT - R| - RTTVAR) / 4, RTO = SRTT + max(G, 4 RTTVAR).
  void sample(duration r, const tcp_config& config) noexcept {
    int64_t m = std::max<int64_t>(r.ns, 1);
    if (_srtt_8 == 0) {
      _srtt_8 = m << 3;
      _rttvar_4 = m << 1;
    } else {
      m -= _srtt_8 >> 3;
      _srtt_8 += m;
      m = (m < 0 ? -m : m) - (_rttvar_4 >> 2);
      _rttvar_4 += m;
    }
    const int64_t rto = (_srtt_8 >> 3) + std::max(granularity.ns, _rttvar_4);
    _rto = {std::clamp(rto, config.rto_min.ns, config.rto_max.ns)};
    _backoff = 0;
  }
  // RFC 6298 5.7: no segment was timed, and the initial value was too short at least once.
  void lost_syn(duration at_least) noexcept {
    _rto = std::max(_rto, at_least);
    _backoff = 0;
  }
  // RFC 6298 5.5: doubled after each timeout, up to the maximum; until a sample says better (Karn), because what
  // acknowledges a segment that was sent twice does not tell how long it took.
  void back_off() noexcept { _backoff = uint8_t(std::min<int>(_backoff + 1, backoff_max)); }
  void clear_backoff() noexcept { _backoff = 0; }

  // What the timer is set to now.
  duration rto(const tcp_config& config) const noexcept {
    return _backoff ? std::min(config.rto_max, _rto * (int64_t(1) << _backoff)) : _rto;
  }
  duration base() const noexcept { return _rto; }
  duration srtt() const noexcept { return {_srtt_8 >> 3}; }
  duration rttvar() const noexcept { return {_rttvar_4 >> 2}; }

 private:
  static constexpr duration granularity = milliseconds(1);
  static constexpr int backoff_max = 20;

  int64_t _srtt_8 = 0;    // 8 * SRTT; 0: no sample yet
  int64_t _rttvar_4 = 0;  // 4 * RTTVAR
  duration _rto;          // before backing off
  uint8_t _backoff = 0;   // timeouts in a row
};

}  // namespace solaster::net::tcp

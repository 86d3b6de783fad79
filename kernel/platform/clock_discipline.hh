// How fast the TSC runs, judged again and again against the PIT: a first measurement that the host spoiled (it took the
// CPU away between two readings) must not stay for ever, and one bad reading later must not spoil a good clock.
//
// A reading is a TSC and the PIT's counter with what can lie between the two (gap). Two of them give a frequency, if
// the number of the counter's wraps in between is known; the frequency in use says it, unless that is wrong. So a
// frequency that agrees is taken (the baseline grows, and with it the precision); one that does not is only suspected,
// and it is taken when a second measurement over a fresh, short baseline says the same. Spec: Intel 8254. Pure: no
// hardware, no clock; tested in tests/unit/kernel. Units: hertz, nanoseconds, TSC ticks.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

inline constexpr u64 pit_hz = 1'193'182;

struct clock_reading {
  u64 tsc = 0;
  u16 pit = 0;  // counts down, 65536 a period
  u64 gap = 0;
};

class clock_discipline {
 public:
  struct verdict {
    u64 hz;             // to be used from now on
    u64 look_again_ns;  // from now
  };

  void start(const clock_reading& first, u64 hz) {
    _anchor = first;
    _hz = hz;
  }

  verdict judge(const clock_reading& now) {
    const u64 elapsed = now.tsc - _anchor.tsc;
    const u64 ticks = ticks_between(_anchor, now, _hz);
    const bool is_exact = (_anchor.gap + now.gap) * uncertainty_part <= elapsed;
    if (!ticks || !is_exact || !is_unambiguous(elapsed)) {
      if (now.gap < _anchor.gap || is_exact)
        _anchor = now;
      return doubt();
    }
    const u64 measured = static_cast<u64>(static_cast<u128>(elapsed) * pit_hz / ticks);
    const u64 error_ppb = 2 * billion / ticks + (_anchor.gap + now.gap) * billion / elapsed;
    if (differ_by(measured, _hz) <= 3 * error_ppb + _error_ppb + slew_ppb) {
      if (error_ppb < 2 * _error_ppb) {
        _hz = measured;
        _error_ppb = error_ppb;
      }
      _suspected = 0;
      _doubts = 0;
      _agreements += _agreements < waits - 1;
      if (!is_unambiguous(2 * elapsed))
        _anchor = now;
      return {_hz, waits_ns[_agreements]};
    }
    const bool is_confirmed = _suspected && differ_by(measured, _suspected) <= 3 * error_ppb + _suspected_error_ppb;
    _anchor = now;
    _agreements = 0;
    if (!is_confirmed) {
      _suspected = measured;
      _suspected_error_ppb = error_ppb;
      _error_ppb = billion;  // nothing is known any more
      return doubt();
    }
    _hz = error_ppb < _suspected_error_ppb ? measured : _suspected;
    _error_ppb = error_ppb < _suspected_error_ppb ? error_ppb : _suspected_error_ppb;
    _suspected = 0;
    _doubts = 0;
    return {_hz, waits_ns[0]};
  }

  // Of the PIT, with the number of its wraps from an estimate of the frequency.
  static u64 ticks_between(const clock_reading& a, const clock_reading& b, u64 hz) {
    const u64 estimate = static_cast<u64>(static_cast<u128>(b.tsc - a.tsc) * pit_hz / hz);
    const u16 phase = static_cast<u16>(a.pit - b.pit);
    const i64 wraps = (static_cast<i64>(estimate) - phase + 32768) >> 16;
    return wraps < 0 ? phase : static_cast<u64>(wraps) * 65536 + phase;
  }

 private:
  using u128 = unsigned __int128;
  static constexpr u64 waits_ns[] = {20'000'000, 500'000'000, 5'000'000'000};
  static constexpr u32 waits = sizeof waits_ns / sizeof waits_ns[0];
  static constexpr u64 short_wait_ns = 2'000'000, long_wait_ns = 1'000'000'000;
  static constexpr u32 short_waits = 16;        // in a row; then once a second: this host has no time for us
  static constexpr u64 ambiguity = 32768 / 2;   // ticks that the estimate may be off
  static constexpr u64 uncertainty_part = 100;  // what a reading's gap may be of the time that it measures
  static constexpr u64 billion = 1'000'000'000;
  static constexpr u64 slew_ppb =
      600'000;  // a host may make its own clock, the PIT's source, slower or faster by 500 ppm
  static constexpr u64 first_error_ppb = 20'000'000;

  // Whether the frequency in use is good enough to know how often the counter has wrapped.
  bool is_unambiguous(u64 elapsed) const {
    const u64 ticks = static_cast<u64>(static_cast<u128>(elapsed) * pit_hz / _hz);
    return static_cast<u128>(ticks) * (_error_ppb + slew_ppb) < static_cast<u128>(ambiguity) * billion;
  }
  // Parts of a billion.
  static u64 differ_by(u64 a, u64 b) {
    return static_cast<u64>(static_cast<u128>(a > b ? a - b : b - a) * billion / b);
  }

  // A short baseline next, short against the counter's period whatever the frequency.
  verdict doubt() {
    const u32 n = _doubts++;
    return {_hz, n >= short_waits ? long_wait_ns : short_wait_ns};
  }

  clock_reading _anchor;
  u64 _hz = 0;
  u64 _error_ppb = first_error_ppb;  // how far off _hz may be
  u64 _suspected = 0;                // a frequency that was measured once and differs from _hz; 0: none
  u64 _suspected_error_ppb = 0;
  u32 _agreements = 0;  // in a row
  u32 _doubts = 0;      // in a row
};

}  // namespace solaster::kernel

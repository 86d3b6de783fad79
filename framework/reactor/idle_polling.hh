// How long an idle shard polls before it sleeps.
//
// Sleeping and being woken costs tens of microseconds, polling costs the CPU. So a shard polls as long as has paid
// lately: a wait that ended soon makes it poll long enough for the next one like it, and each sleep that lasted halves
// what it polls, so that a shard that nobody calls soon sleeps at once. A shard that finds, while it polls, that the
// CPU was taken away from it, is in somebody's way: it does not poll for a while.
//
// Units:   nanoseconds. Context: shard-local, no clock of its own.
#pragma once

#include "framework/base/check.hh"
#include "framework/reactor/time.hh"

#include <algorithm>
#include <cstdint>

namespace solaster {

class idle_polling {
 public:
  // At least `min`, at most `max` before each sleep; equal for a fixed time.
  idle_polling(duration min, duration max) noexcept : _min(min.ns), _max(std::max(min, max).ns), _window(_max) {}

  // An idle turn. Whether to poll on; false: sleep.
  bool poll_on(int64_t now) noexcept {
    if (_idle_since == 0) {
      _idle_since = _last_turn = now;
    }
    if (now - _last_turn >= taken_away && _window > _min) {
      _window = _min;
      _quiet_until = now + quiet_time;
    }
    _last_turn = now;
    return now - _idle_since < _window;
  }
  // Whether poll_on() would say no, without counting the turn.
  bool is_over(int64_t now) const noexcept {
    return _window == 0 || (_idle_since != 0 && now - _idle_since >= _window);
  }
  // There was work, found by polling.
  void found_work(int64_t now) noexcept {
    if (_idle_since != 0) {
      pay(now);
    }
  }
  // A sleep is over; `woken` when something came, not its deadline.
  void slept(int64_t now, bool woken) noexcept {
    if (woken && now - _idle_since < _max) {
      pay(now);
    } else {
      _window = std::max(_window / 2 < shortest ? 0 : _window / 2, _min);
      _idle_since = 0;
    }
    DCHECK(is_valid());
  }

  int64_t window_ns() const noexcept { return _window; }
  bool is_valid() const noexcept { return _min <= _window && _window <= _max && _idle_since >= 0; }

 private:
  // A turn that took so long was not ours alone.
  static constexpr int64_t taken_away = 500'000;
  static constexpr int64_t quiet_time = 20'000'000;
  // Polling for less is not worth the while.
  static constexpr int64_t shortest = 5'000;
  // So much longer than the last wait that paid.
  static constexpr int64_t margin = 4;

  // A wait has ended while polling for it pays: be sure to catch the next one like it.
  void pay(int64_t now) noexcept {
    if (now >= _quiet_until) {
      _window = std::clamp(std::max(_window, (now - _idle_since) * margin), _min, _max);
    }
    _idle_since = 0;
  }

  int64_t _min;
  int64_t _max;
  int64_t _window;           // how long to poll before the next sleep
  int64_t _idle_since = 0;   // 0: not idle
  int64_t _last_turn = 0;    // the last idle turn
  int64_t _quiet_until = 0;  // polling was in somebody's way
};

}  // namespace solaster

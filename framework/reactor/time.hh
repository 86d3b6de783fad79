// Time in the framework: `instant` and `duration` (net/base/time.hh) are what it is spoken of in, and the reactor's
// back end is the only place that reads a clock. A function that takes a `delay` or adds to an instant also takes
// std::chrono durations, so that `sleep(100ms)` and `now + 5s` read as they should.
//
// Units: nanoseconds. An instant counts from an arbitrary epoch of the host (boot).
// Context: any thread. In a thread without a reactor the clocks ask the C library.
#pragma once

#include "framework/future/task.hh"
#include "net/base/time.hh"

#include <chrono>
#include <cstdint>

namespace solaster {

template <typename Rep, typename Period>
constexpr duration to_duration(std::chrono::duration<Rep, Period> d) noexcept {
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(d).count()};
}
constexpr std::chrono::nanoseconds to_chrono(duration d) noexcept {
  return std::chrono::nanoseconds(d.ns);
}
template <typename Rep, typename Period>
constexpr instant operator+(instant t, std::chrono::duration<Rep, Period> d) noexcept {
  return t + to_duration(d);
}
template <typename Rep, typename Period>
constexpr instant operator-(instant t, std::chrono::duration<Rep, Period> d) noexcept {
  return t - to_duration(d);
}

// A parameter: how long from now.
class delay {
  duration _d;

 public:
  constexpr delay(duration d) noexcept : _d(d) {}
  template <typename Rep, typename Period>
  constexpr delay(std::chrono::duration<Rep, Period> d) noexcept : _d(to_duration(d)) {}
  constexpr operator duration() const noexcept { return _d; }
};

// High resolution: each now() reads the host's clock.
struct steady_clock {
  static instant now() noexcept;
};

// Coarse and nearly free: the time at which this turn of the run loop began. Its instants compare with steady_clock's.
// timer<lowres_clock> fires on multiples of `granularity`, so that many timers share one wake-up.
struct lowres_clock {
  static constexpr duration granularity = milliseconds(10);
  static instant now() noexcept {
    int64_t ns = internal::hot.loop_now_ns;
    return ns != 0 ? instant{ns} : steady_clock::now();
  }
};

// Wall-clock time, followed through lowres_clock and compared with the host's own once a second.
struct lowres_system_clock {
  using time_point = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;
  static time_point now() noexcept;
};

}  // namespace solaster

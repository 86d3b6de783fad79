// Time in the framework: `instant` and `duration` are the only types in which it is spoken of, and the reactor's back end is
// the only place that reads a clock.
//
// Units: nanoseconds. An instant counts from an arbitrary epoch of the host (boot).
// Context: any thread. In a thread without a reactor the clocks ask the C library.
#pragma once

#include "framework/core/task.hh"

#include <chrono>
#include <cstdint>

namespace solaster {

using duration = std::chrono::nanoseconds;

// High resolution: each now() reads the host's clock.
struct steady_clock {
    using duration = solaster::duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<steady_clock, duration>;
    static constexpr bool is_steady = true;
    static time_point now() noexcept;
};

using instant = steady_clock::time_point;

constexpr instant instant_from_ns(int64_t ns) noexcept {
    return instant(duration(ns));
}
constexpr int64_t ns_of(instant t) noexcept {
    return t.time_since_epoch().count();
}
// "No deadline."
inline constexpr instant never = instant::max();

// Coarse and nearly free: the time at which this turn of the run loop began. Its instants compare with steady_clock's.
// timer<lowres_clock> fires on multiples of `granularity`, so that many timers share one wake-up.
struct lowres_clock {
    using duration = solaster::duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = instant;
    static constexpr bool is_steady = true;
    static constexpr duration granularity = std::chrono::milliseconds(10);
    static time_point now() noexcept {
        int64_t ns = internal::hot.loop_now_ns;
        return ns != 0 ? instant_from_ns(ns) : steady_clock::now();
    }
};

// Wall-clock time, followed through the steady clock and compared with the host's own once a second.
struct lowres_system_clock {
    using duration = solaster::duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<std::chrono::system_clock, duration>;
    static constexpr bool is_steady = false;
    static time_point now() noexcept;
};

} // namespace solaster

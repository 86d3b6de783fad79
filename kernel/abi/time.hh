// Times as Linux hands them to programs.
// Spec: Linux include/uapi/linux/time.h, time_types.h.
#pragma once

#include <cstdint>

namespace solaster::kernel::abi {

struct timespec {
  int64_t sec;
  int64_t nsec;
};
static_assert(sizeof(timespec) == 16);

struct timeval {
  int64_t sec;
  int64_t usec;
};

struct itimerval {
  timeval interval;
  timeval value;
};

struct tms {
  int64_t utime;
  int64_t stime;
  int64_t cutime;
  int64_t cstime;
};

inline constexpr int clock_realtime = 0;
inline constexpr int clock_monotonic = 1;
inline constexpr int clock_process_cputime_id = 2;
inline constexpr int clock_thread_cputime_id = 3;
inline constexpr int clock_monotonic_raw = 4;
inline constexpr int clock_realtime_coarse = 5;
inline constexpr int clock_monotonic_coarse = 6;
inline constexpr int clock_boottime = 7;
inline constexpr int clock_tai = 11;
inline constexpr int timer_abstime = 1;

inline constexpr int64_t ns_per_s = 1'000'000'000;

}  // namespace solaster::kernel::abi

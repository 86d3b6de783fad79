// Points and spans of time as types that do not mix with numbers. No clock is read here: time is handed in.
// Units: nanoseconds of a monotonic clock whose zero is the host's business.
#pragma once

#include <compare>
#include <cstdint>

namespace solaster {

struct duration {
  int64_t ns = 0;
  constexpr auto operator<=>(const duration&) const = default;
  constexpr duration operator+(duration o) const { return {ns + o.ns}; }
  constexpr duration operator-(duration o) const { return {ns - o.ns}; }
  constexpr duration operator*(int64_t k) const { return {ns * k}; }
  constexpr duration operator/(int64_t k) const { return {ns / k}; }
};

constexpr duration nanoseconds(int64_t n) {
  return {n};
}
constexpr duration microseconds(int64_t n) {
  return {n * 1'000};
}
constexpr duration milliseconds(int64_t n) {
  return {n * 1'000'000};
}
constexpr duration seconds(int64_t n) {
  return {n * 1'000'000'000};
}

struct instant {
  int64_t ns = 0;
  constexpr auto operator<=>(const instant&) const = default;
  // Saturates: never() plus anything is never().
  constexpr instant operator+(duration d) const {
    int64_t sum;
    return __builtin_add_overflow(ns, d.ns, &sum) ? never() : instant{sum};
  }
  constexpr instant operator-(duration d) const { return {ns - d.ns}; }
  constexpr duration operator-(instant o) const { return {ns - o.ns}; }
  static constexpr instant never() { return {INT64_MAX}; }
};

}  // namespace solaster

// Sequence numbers: positions on a circle of 2^32, and distances between them. Two types, so that they do not mix.
//
// A position is a `seq`; a distance is an integer. Comparison is modular and holds while positions are less than 2^31
// apart, which windows of at most 2^30 guarantee. Spec: RFC 9293 3.4.
#pragma once

#include <cstdint>

namespace solaster::net::tcp {

class seq {
 public:
  constexpr seq() noexcept = default;
  constexpr explicit seq(uint32_t value) noexcept : _value(value) {}
  constexpr uint32_t value() const noexcept { return _value; }

  constexpr seq operator+(uint32_t n) const noexcept { return seq(_value + n); }
  constexpr seq operator-(uint32_t n) const noexcept { return seq(_value - n); }
  constexpr seq& operator+=(uint32_t n) noexcept {
    _value += n;
    return *this;
  }
  // Signed distance: positive when `this` is later.
  constexpr int32_t operator-(seq o) const noexcept { return int32_t(_value - o._value); }

  constexpr bool operator==(const seq&) const noexcept = default;
  constexpr bool operator<(seq o) const noexcept { return *this - o < 0; }
  constexpr bool operator>(seq o) const noexcept { return *this - o > 0; }
  constexpr bool operator<=(seq o) const noexcept { return *this - o <= 0; }
  constexpr bool operator>=(seq o) const noexcept { return *this - o >= 0; }

 private:
  uint32_t _value = 0;
};

constexpr seq later(seq a, seq b) noexcept {
  return a > b ? a : b;
}

}  // namespace solaster::net::tcp

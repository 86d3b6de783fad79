// Decimal numbers of the text protocol: what strtol and friends accept there, without locale and without a terminator.
//
// Spec: memcached's doc/protocol.txt; the accepted forms follow its safe_strtol family (leading sign allowed, the whole
// token must be digits, range checked). Errors: nullopt.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace solaster::memcached {

template <class Integer>
std::optional<Integer> parse_number(std::string_view text) noexcept {
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
    if (!text.empty() && text.front() == '-')
      return std::nullopt;
  }
  Integer value{};
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || text.empty())
    return std::nullopt;
  return value;
}

inline constexpr unsigned decimal_digits_max = 20;

// Writes `value` in decimal at `out` (room for decimal_digits_max bytes); returns the end.
inline char* write_number(char* out, uint64_t value) noexcept {
  if (value < 10) {
    *out = char('0' + value);
    return out + 1;
  }
  return std::to_chars(out, out + decimal_digits_max, value).ptr;
}

}  // namespace solaster::memcached

// Decimal numbers of the text protocol: what strtol and friends accept there, without locale and without a terminator.
//
// Spec: memcached's doc/protocol.txt; the accepted forms follow its safe_strtol family: a sign, white space before the
// digits, anything after white space behind them; range checked. Errors: nullopt.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace solaster::memcached {

// The first run of `text` without white space, as C's isspace() sees it.
inline std::string_view trim_spaces(std::string_view text) noexcept {
  constexpr std::string_view spaces = " \t\n\v\f\r";
  size_t begin = text.find_first_not_of(spaces);
  if (begin == text.npos)
    return {};
  text.remove_prefix(begin);
  return text.substr(0, text.find_first_of(spaces));
}

template <class Integer>
std::optional<Integer> parse_number(std::string_view text) noexcept {
  text = trim_spaces(text);
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

// What memcached's safe_strtol makes of a number that needs more than 32 bits: the low 32 are kept.
inline std::optional<int32_t> parse_truncated(std::string_view text) noexcept {
  auto wide = parse_number<int64_t>(text);
  return wide ? std::optional(int32_t(uint32_t(*wide))) : std::nullopt;
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

#include "apps/memcached/bench/workload.hh"

#include <fmt/format.h>

#include <iterator>

namespace solaster::mcbench {

namespace {
constexpr size_t block_bytes = 1 << 20;
uint64_t mix(uint64_t x) noexcept {  // a bijection of 64 bits
  x ^= x >> 31;
  x *= 0x7fb5d329728ea185;
  x ^= x >> 27;
  x *= 0x81dadef4bc2dd44d;
  return x ^ x >> 33;
}
}  // namespace

workload::workload(workload_options options) : _options(std::move(options)) {
  _block.resize(block_bytes + _options.value_max);
  uint64_t state = 0x5eed;  // the same in every process: one checks what another stored
  for (char& c : _block) {
    state = mix(state + 0x9e3779b97f4a7c15);
    c = char('!' + state % 94);
  }
}

std::string_view workload::value(uint64_t key) const noexcept {
  uint64_t h = mix(key + 1);
  uint32_t size = _options.value_min + uint32_t((h >> 32) % (_options.value_max - _options.value_min + 1));
  return std::string_view(_block).substr(h % block_bytes, size);
}

void workload::append_key(std::string& out, uint64_t key) const {
  out += _options.prefix;
  fmt::format_int digits(key);
  out.append(digits.data(), digits.size());
}

void workload::append_get(std::string& out, uint64_t key) const {
  out += "get ";
  append_key(out, key);
  out += "\r\n";
}

void workload::append_set(std::string& out, uint64_t key) const {
  std::string_view v = value(key);
  out += "set ";
  append_key(out, key);
  out += " 0 0 ";
  fmt::format_int digits(v.size());
  out.append(digits.data(), digits.size());
  out += "\r\n";
  out += v;
  out += "\r\n";
}

answer_checker::progress answer_checker::check(workload::request r, std::string_view input) {
  constexpr std::string_view stored = "STORED\r\n", end = "END\r\n";
  size_t line_end = input.find('\n');
  if (line_end == std::string_view::npos)
    return {verdict::incomplete, 0};
  if (!r.is_get) {
    if (input.starts_with(stored))
      return {verdict::stored, stored.size()};
    return {verdict::error, line_end + 1};
  }
  if (input.starts_with(end))
    return {verdict::miss, end.size()};
  if (!input.starts_with("VALUE "))
    return {verdict::error, line_end + 1};
  std::string_view value = _workload.value(r.key);
  _expected.assign("VALUE ");
  _workload.append_key(_expected, r.key);
  fmt::format_int digits(value.size());
  _expected += " 0 ";
  _expected.append(digits.data(), digits.size());
  _expected += "\r\n";
  size_t total = _expected.size() + value.size() + 2 + end.size();
  if (input.size() < total) {
    if (!input.starts_with(_expected))
      return {verdict::wrong_value, line_end + 1};
    return {verdict::incomplete, 0};
  }
  bool right = input.starts_with(_expected) && input.substr(_expected.size(), value.size()) == value &&
               input.substr(_expected.size() + value.size(), 2) == "\r\n" &&
               input.substr(total - end.size(), end.size()) == end;
  return {right ? verdict::hit : verdict::wrong_value, total};
}

}  // namespace solaster::mcbench

// Text that grows: what procfs shows and what diagnostics are put together from.
// Errors: out of memory cuts the text; `complete()` tells.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "kernel/lib/vec.hh"

namespace solaster::kernel {

class text {
 public:
  text& operator<<(std::string_view s) {
    for (char c : s)
      *this << c;
    return *this;
  }
  text& operator<<(char c) {
    if (!_chars.push_back(c))
      _complete = false;
    return *this;
  }
  text& dec(uint64_t value, int width = 0, char pad = ' ') { return number(value, 10, width, pad); }
  text& hex(uint64_t value, int width = 0) { return number(value, 16, width, '0'); }
  text& oct(uint64_t value, int width = 0) { return number(value, 8, width, '0'); }
  std::string_view view() const { return {_chars.begin(), _chars.size()}; }
  bool complete() const { return _complete; }

 private:
  text& number(uint64_t value, unsigned base, int width, char pad) {
    char digits[24];
    int n = 0;
    do {
      digits[n++] = "0123456789abcdef"[value % base];
      value /= base;
    } while (value);
    for (int i = n; i < width; i++)
      *this << pad;
    while (n)
      *this << digits[--n];
    return *this;
  }

  vec<char> _chars;
  bool _complete = true;
};

}  // namespace solaster::kernel

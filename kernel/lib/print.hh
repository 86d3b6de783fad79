// Formatting and the kernel's log without libc: `{}` placeholders, type safe, no allocation.
//
// Placeholders: `{}` default, `{:x}` hexadecimal, `{:08x}` zero-padded, `{:>8}`/`{:<8}` width. Arguments: integers,
// bool, char, const char*, std::string_view, pointers (printed as 0x...). Unknown placeholders print as written.
// Context: any, interrupt too. A log line longer than 512 bytes is cut.
#pragma once

#include <string_view>
#include <type_traits>

#include "kernel/lib/types.hh"

namespace solaster::kernel {

struct format_arg {
  enum class type : u8 { u64_, i64_, string, character, boolean, pointer } kind;
  union {
    u64 u;
    i64 i;
    const void* p;
  };
  usize length = 0;

  template <typename T>
    requires std::is_integral_v<T>
  constexpr format_arg(T v) : u(0) {
    if constexpr (std::is_same_v<T, bool>) {
      kind = type::boolean;
      u = v;
    } else if constexpr (std::is_same_v<T, char>) {
      kind = type::character;
      u = static_cast<u8>(v);
    } else if constexpr (std::is_signed_v<T>) {
      kind = type::i64_;
      i = v;
    } else {
      kind = type::u64_;
      u = v;
    }
  }
  template <typename T>
    requires std::is_enum_v<T>
  constexpr format_arg(T v) : format_arg(static_cast<std::underlying_type_t<T>>(v)) {}
  format_arg(std::string_view s) : kind(type::string), p(s.data()), length(s.size()) {}
  format_arg(const char* s) : format_arg(s ? std::string_view(s) : std::string_view("(null)")) {}
  format_arg(const void* v) : kind(type::pointer), p(v) {}
};

// Formats into `out` (never more than `size` bytes, no NUL) and returns what was written.
std::string_view vformat(char* out, usize size, std::string_view fmt, const format_arg* args, usize count);

template <typename... Args>
std::string_view format_to(char* out, usize size, std::string_view fmt, const Args&... args) {
  const format_arg list[] = {format_arg(args)..., format_arg(0)};
  return vformat(out, size, fmt, list, sizeof...(args));
}

namespace log {

// The numbers of the kernel option loglevel=: a line is shown on the console when its level <= loglevel (default 4).
enum class level : int { fatal = 0, error = 3, warn = 4, note = 5, info = 6, debug = 7 };

void vwrite(level l, std::string_view fmt, const format_arg* args, usize count);
bool enabled(level l);

template <typename... Args>
void write(level l, std::string_view fmt, const Args&... args) {
  const format_arg list[] = {format_arg(args)..., format_arg(0)};
  vwrite(l, fmt, list, sizeof...(args));
}
// Each call is one line on the console, "solaster: " before it; no newline in `fmt`. What the level hides is gone.
template <typename... Args>
void error(std::string_view fmt, const Args&... args) {
  write(level::error, fmt, args...);
}
template <typename... Args>
void warn(std::string_view fmt, const Args&... args) {
  write(level::warn, fmt, args...);
}
template <typename... Args>
void note(std::string_view fmt, const Args&... args) {
  write(level::note, fmt, args...);
}
template <typename... Args>
void info(std::string_view fmt, const Args&... args) {
  write(level::info, fmt, args...);
}
template <typename... Args>
void debug(std::string_view fmt, const Args&... args) {
  write(level::debug, fmt, args...);
}

void set_level(int level);

}  // namespace log
}  // namespace solaster::kernel

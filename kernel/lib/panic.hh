// The end of the kernel: registers, a symbolised backtrace, and a non-zero status of QEMU. And CHECK, which leads
// there.
//
// Context: any. A panic never returns, stops the other CPUs by NMI, and a panic inside a panic ends at once.
#pragma once

#include "kernel/lib/print.hh"

namespace solaster::kernel {

struct trap_frame;

[[noreturn]] void vpanic(const trap_frame* frame, std::string_view fmt, const format_arg* args, usize count);

template <typename... Args>
[[noreturn]] void panic(std::string_view fmt, const Args&... args) {
  const format_arg list[] = {format_arg(args)..., format_arg(0)};
  vpanic(nullptr, fmt, list, sizeof...(args));
}
// The same, with the registers of `frame` instead of the caller's.
template <typename... Args>
[[noreturn]] void panic_at(const trap_frame* frame, std::string_view fmt, const Args&... args) {
  const format_arg list[] = {format_arg(args)..., format_arg(0)};
  vpanic(frame, fmt, list, sizeof...(args));
}

// A start that cannot go on because of what the user gave (no program, too little memory): one line, no backtrace, QEMU
// ends with status 126 * 2 + 1.
[[noreturn]] void vrefuse(std::string_view fmt, const format_arg* args, usize count);
template <typename... Args>
[[noreturn]] void refuse(std::string_view fmt, const Args&... args) {
  const format_arg list[] = {format_arg(args)..., format_arg(0)};
  vrefuse(fmt, list, sizeof...(args));
}

[[noreturn]] void check_failed(const char* expression, const char* file, int line);

}  // namespace solaster::kernel

// Always on: an invariant of the kernel. Never for what a program, a device or the wire says.
#define KCHECK(condition)                                               \
  do {                                                                  \
    if (!(condition)) [[unlikely]] {                                    \
      ::solaster::kernel::check_failed(#condition, __FILE__, __LINE__); \
    }                                                                   \
  } while (0)

// Only in debug builds: walks that cost, such as a structure's is_valid().
#if SOLASTER_DEBUG
#define KDCHECK(condition) KCHECK(condition)
#else
#define KDCHECK(condition) static_cast<void>(sizeof(!(condition)))
#endif

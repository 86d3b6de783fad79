// Logging: a named logger per module, a level each, one line a message.
//
//     static logger log("smp");
//     log.info("{} shards", n);
//
// A line carries level, wall time (UTC), shard and module, and leaves in one piece: to stderr, or through the direct
// interface in a guest. Formatting happens only when the level is on. --default-log-level and --logger-log-level set
// levels.
//
// Context: any thread. Formatting allocates for lines over 500 bytes. Limits: a line is cut at 4,000 bytes.
#pragma once

#include <fmt/core.h>
#include <atomic>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

namespace solaster {

enum class log_level : int { error, warn, info, debug, trace };

std::string_view to_string(log_level) noexcept;
// False for a name that is none of the levels.
bool parse_log_level(std::string_view name, log_level& out) noexcept;

class logger {
 public:
  // `name` is a literal, or lives as long as the logger.
  explicit logger(const char* name) noexcept;
  logger(const logger&) = delete;
  ~logger();

  const char* name() const noexcept { return _name; }
  log_level level() const noexcept { return _level.load(std::memory_order_relaxed); }
  void set_level(log_level l) noexcept { _level.store(l, std::memory_order_relaxed); }
  bool is_enabled(log_level l) const noexcept { return l <= level(); }

  template <typename... A>
  void log(log_level l, fmt::format_string<A...> f, A&&... a) noexcept {
    if (is_enabled(l)) [[unlikely]] {
      write(l, f, fmt::make_format_args(a...));
    }
  }
  template <typename... A>
  void error(fmt::format_string<A...> f, A&&... a) noexcept {
    log(log_level::error, f, std::forward<A>(a)...);
  }
  template <typename... A>
  void warn(fmt::format_string<A...> f, A&&... a) noexcept {
    log(log_level::warn, f, std::forward<A>(a)...);
  }
  template <typename... A>
  void info(fmt::format_string<A...> f, A&&... a) noexcept {
    log(log_level::info, f, std::forward<A>(a)...);
  }
  template <typename... A>
  void debug(fmt::format_string<A...> f, A&&... a) noexcept {
    log(log_level::debug, f, std::forward<A>(a)...);
  }
  template <typename... A>
  void trace(fmt::format_string<A...> f, A&&... a) noexcept {
    log(log_level::trace, f, std::forward<A>(a)...);
  }

  // For every logger there is or will be.
  static void set_default_level(log_level) noexcept;
  // The loggers of this name, now and later. False when there is none yet.
  static bool set_level_of(std::string_view name, log_level);
  // Of all loggers there are, sorted, each once.
  static std::vector<std::string> names();

 private:
  void write(log_level, fmt::string_view format, fmt::format_args args) noexcept;

  const char* _name;
  std::atomic<log_level> _level;
  logger* _next = nullptr;  // the registry's list
};

// What an exception says, for a message: "std::system_error: Connection refused".
std::string describe(const std::exception_ptr&);
// An error line "what: the exception", as far as there is memory for it.
void log_exception(logger&, const char* what, const std::exception_ptr&) noexcept;

namespace internal {
// Writes the text where log lines go.
void write_log_text(const char* text, size_t length) noexcept;
}  // namespace internal

}  // namespace solaster

#include "framework/log/log.hh"

#include "framework/future/task.hh"
#include "framework/host/direct.hh"

#include <cxxabi.h>
#include <fmt/format.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <system_error>
#include <typeinfo>

namespace solaster {
namespace {

constexpr size_t line_max = 4000;

// Loggers are made by static initialisers in any order: the registry is made by the first.
struct registry {
  std::mutex lock;
  logger* head = nullptr;
  log_level default_level = log_level::info;
  std::map<std::string, log_level, std::less<>> levels;  // asked for by name
};
registry& the_registry() noexcept {
  static registry* r = new registry;  // never destroyed: static loggers outlive it in no order
  return *r;
}

struct civil_time {
  int year, month, day, hour, minute, second, ms;
};
// Days to a date in the proleptic Gregorian calendar; no time zone database is asked (the program is one static file).
civil_time utc_of(const timespec& ts) noexcept {
  int64_t days = ts.tv_sec / 86400, rest = ts.tv_sec % 86400;
  int64_t z = days + 719468, era = z / 146097, doe = z - era * 146097;
  int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
  int month = int(mp < 10 ? mp + 3 : mp - 9);
  return {int(yoe + era * 400 + (month <= 2)),
          month,
          int(doy - (153 * mp + 2) / 5 + 1),
          int(rest / 3600),
          int(rest / 60 % 60),
          int(rest % 60),
          int(ts.tv_nsec / 1000000)};
}

}  // namespace

std::string_view to_string(log_level l) noexcept {
  constexpr std::string_view names[] = {"error", "warn", "info", "debug", "trace"};
  return names[int(l)];
}

bool parse_log_level(std::string_view name, log_level& out) noexcept {
  for (int i = 0; i <= int(log_level::trace); ++i) {
    if (to_string(log_level(i)) == name) {
      out = log_level(i);
      return true;
    }
  }
  return false;
}

logger::logger(const char* name) noexcept : _name(name) {
  registry& r = the_registry();
  std::lock_guard guard(r.lock);
  auto it = r.levels.find(std::string_view(name));
  _level = it != r.levels.end() ? it->second : r.default_level;
  _next = r.head;
  r.head = this;
}

logger::~logger() {
  registry& r = the_registry();
  std::lock_guard guard(r.lock);
  for (logger** p = &r.head; *p; p = &(*p)->_next) {
    if (*p == this) {
      *p = _next;
      break;
    }
  }
}

void logger::set_default_level(log_level l) noexcept {
  registry& r = the_registry();
  std::lock_guard guard(r.lock);
  r.default_level = l;
  for (logger* p = r.head; p; p = p->_next) {
    if (!r.levels.contains(std::string_view(p->_name))) {
      p->set_level(l);
    }
  }
}

bool logger::set_level_of(std::string_view name, log_level l) {
  registry& r = the_registry();
  std::lock_guard guard(r.lock);
  r.levels.insert_or_assign(std::string(name), l);
  bool found = false;
  for (logger* p = r.head; p; p = p->_next) {
    if (p->_name == name) {
      p->set_level(l);
      found = true;
    }
  }
  return found;
}

std::vector<std::string> logger::names() {
  registry& r = the_registry();
  std::lock_guard guard(r.lock);
  std::set<std::string> found;
  for (logger* p = r.head; p; p = p->_next) {
    found.insert(p->_name);
  }
  return {found.begin(), found.end()};
}

void logger::write(log_level l, fmt::string_view format, fmt::format_args args) noexcept {
  try {
    constexpr const char* names[] = {"ERROR", "WARN ", "INFO ", "DEBUG", "TRACE"};
    timespec ts{};
    clock_gettime(CLOCK_REALTIME, &ts);
    civil_time t = utc_of(ts);
    fmt::memory_buffer line;
    auto out = std::back_inserter(line);
    fmt::format_to(out, "{} {:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03} ", names[int(l)], t.year, t.month, t.day, t.hour,
                   t.minute, t.second, t.ms);
    if (unsigned shard = internal::hot.shard_id; shard == internal::no_shard_id) {
      fmt::format_to(out, "[no shard] {} - ", _name);
    } else {
      fmt::format_to(out, "[shard {}] {} - ", shard, _name);
    }
    fmt::vformat_to(out, format, args);
    if (line.size() > line_max) {
      line.resize(line_max);
    }
    line.push_back('\n');
    internal::write_log_text(line.data(), line.size());
  } catch (...) {
    constexpr std::string_view text = "a log line could not be written (out of memory?)\n";
    internal::write_log_text(text.data(), text.size());
  }
}

std::string describe(const std::exception_ptr& ex) {
  try {
    std::rethrow_exception(ex);
  } catch (const std::exception& e) {
    int status = 0;
    char* name = abi::__cxa_demangle(typeid(e).name(), nullptr, nullptr, &status);
    std::string text = std::string(name ? name : typeid(e).name()) + ": " + e.what();
    std::free(name);
    return text;
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

void log_exception(logger& log, const char* what, const std::exception_ptr& ex) noexcept {
  try {
    log.error("{}: {}", what, describe(ex));
  } catch (...) {
    log.error("{}", what);  // no memory for more
  }
}

namespace internal {

void write_log_text(const char* text, size_t length) noexcept {
  if (auto* direct = find_direct_interface()) {
    direct->log(text, length);
    return;
  }
  while (length > 0) {
    ssize_t n = ::write(STDERR_FILENO, text, length);
    if (n <= 0) {
      return;
    }
    text += n;
    length -= size_t(n);
  }
}

}  // namespace internal
}  // namespace solaster

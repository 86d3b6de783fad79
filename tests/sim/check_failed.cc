// A test program's answer to a broken invariant: say it and stop. The framework's own, where linked, comes first.
#include <cstdio>
#include <cstdlib>

extern "C" [[noreturn]] __attribute__((weak)) void solaster_check_failed(const char* file, int line,
                                                                         const char* expression) noexcept {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, expression);
  std::abort();
}

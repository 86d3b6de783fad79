// A broken invariant ends the test program, with its place.
#include <cstdio>
#include <cstdlib>

extern "C" [[noreturn]] __attribute__((weak)) void solaster_check_failed(const char* file, int line,
                                                                         const char* expression) noexcept {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, expression);
  std::abort();
}

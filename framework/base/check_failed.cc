// Where a CHECK of net/ or of the framework ends in a program: one line, then SIGABRT.
#include <cstdio>
#include <cstdlib>

#include "net/base/check.hh"

extern "C" [[noreturn]] void solaster_check_failed(const char* file, int line, const char* expression) noexcept {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, expression);
  std::abort();
}

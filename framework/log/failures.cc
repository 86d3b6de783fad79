// What futures have to say: declared in framework/future, which stands below the log.
#include "framework/future/future.hh"
#include "framework/log/log.hh"

#include <cstdlib>

namespace solaster::internal {

static logger future_log("future");

void die(const char* what) noexcept {
  future_log.error("{}", what);
  std::abort();
}

void report_ignored_failure(std::exception_ptr ex) noexcept {
  try {
    future_log.warn("a failed future was ignored: {}", describe(ex));
  } catch (...) {
  }
}

}  // namespace solaster::internal

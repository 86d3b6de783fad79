#include "framework/future/future.hh"

#include "framework/app/log.hh"

#include <cstdlib>
#include <cstring>

namespace solaster {
namespace internal {

constinit thread_local shard_hot_state hot;
constinit given_up_mark given_up;

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

void promise_base::report_unwanted_failure(std::exception_ptr ex) noexcept {
  if (_task != &given_up) {
    report_ignored_failure(std::move(ex));
  }
}

void promise_base::abandon() noexcept {
  if (_task == &given_up) {
    return;
  }
  if (_state) {
    _state->set_exception(std::make_exception_ptr(broken_promise()));
  }
  make_ready();
}

}  // namespace internal
}  // namespace solaster

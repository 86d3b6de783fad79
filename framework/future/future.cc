#include "framework/future/future.hh"

#include <cstdlib>
#include <cstring>

namespace solaster {
namespace internal {

constinit thread_local shard_hot_state hot;
constinit given_up_mark given_up;

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

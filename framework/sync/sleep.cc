#include "framework/sync/sleep.hh"

namespace solaster {

future<> sleep_abortable(delay d, abort_source& as) {
  promise<> done;
  bool aborted = as.abort_was_requested();
  timer<> t([&] { done.set_value(); });
  auto subscription = as.subscribe([&] {
    aborted = true;
    if (t.cancel()) {
      done.set_value();
    }
  });
  if (!aborted) {
    t.arm(d);
    co_await done.get_future();
  }
  if (aborted) {
    co_await coroutine::exception(sleep_aborted());
  }
}

}  // namespace solaster

#include "framework/future/loops.hh"

namespace solaster::internal {

future<> wait_for_all(std::vector<future<>> running, std::exception_ptr failure) {
  for (auto& f : running) {
    co_await coroutine::wait_for(f);
    if (f.failed()) {
      failure = f.get_exception();
    }
  }
  if (failure) {
    co_await coroutine::exception(std::move(failure));
  }
}

}  // namespace solaster::internal

// SIGINT and SIGTERM as something to wait for, so that a server can stop in its own order.
//
//     stop_signal stop;
//     co_await server.start();
//     co_await stop.wait();
//     co_await server.stop();
//
// Context: shard 0. A second signal while the program stops ends it at once, as it ends any program.
#pragma once

#include "framework/sync/abort_source.hh"
#include "framework/sync/condition_variable.hh"

namespace solaster {

class stop_signal {
  condition_variable _arrived;
  abort_source _abort;

  void on_signal();

 public:
  stop_signal();
  ~stop_signal();
  stop_signal(const stop_signal&) = delete;

  future<> wait() {
    return _arrived.wait([this] { return stopping(); });
  }
  bool stopping() const noexcept { return _abort.abort_was_requested(); }
  abort_source& as_abort_source() noexcept { return _abort; }
};

}  // namespace solaster

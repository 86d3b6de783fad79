// Starting and stopping the shards' threads. What app_template and the tests stand on.
//
// Context: the thread that becomes shard 0. Once a process: shards' memory is reserved for good.
#pragma once

#include "framework/base/function.hh"
#include "framework/future/future.hh"

#include <string>

namespace solaster::internal {

// Runs `main` on shard 0 when all shards are up, then stops them; returns the exit status. `complain` prints a line for
// the user. Uses options().
int run_shards(noncopyable_function<future<int>()> main, noncopyable_function<void(const std::string&)> complain);

// SIGINT and SIGTERM end the program by engine().exit(0), a second one at once. Shard 0.
void stop_on_signals();
// SIGINT and SIGTERM do from now on what they do to any program.
void restore_default_stop() noexcept;

}  // namespace solaster::internal

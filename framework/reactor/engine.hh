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

}  // namespace solaster::internal

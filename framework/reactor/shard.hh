// Which shard is this, and how many are there.
//
// Context: any thread; a thread without a reactor is no shard.
#pragma once

#include "framework/future/task.hh"

namespace solaster {

using shard_id = unsigned;

// What this_shard_id() says in a thread that is no shard.
inline constexpr shard_id no_shard = internal::no_shard_id;

inline shard_id this_shard_id() noexcept {
  return internal::hot.shard_id;
}

// smp::submit_to and the rest are in smp.hh.
class smp;

}  // namespace solaster

// Which shard is this, and how many are there.
//
// Context: any thread; a thread without a reactor answers 0.
#pragma once

#include "framework/future/task.hh"

namespace solaster {

using shard_id = unsigned;

inline shard_id this_shard_id() noexcept {
  return internal::hot.shard_id;
}

// smp::submit_to and the rest are in smp.hh.
class smp;

}  // namespace solaster

// What the run loop calls in every turn and a higher folder defines.
#pragma once

namespace solaster::internal {

// Streams that gathered small writes send them now. True if there were any. In framework/io.
bool poll_batch_flushes() noexcept;

}  // namespace solaster::internal

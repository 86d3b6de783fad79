// Files whose text is made when they are opened: /proc and /sys.
//
// Errors: text that does not fit into memory fails the open with ENOMEM.
// Context: the generator runs in thread context without the tree's mutex.
#pragma once

#include "kernel/fs/node.hh"
#include "kernel/lib/text.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel::fs {

using generator = void (*)(text& out, u64 argument);

// `argument` is handed to the generator (a thread's id, a CPU's number).
ref<node> make_generated(generator g, u64 argument = 0, uint32_t permissions = 0444);
// A symbolic link whose target is made each time.
ref<node> make_generated_link(generator g, u64 argument = 0);

// Building blocks for populate_*: each refuses to go on when memory is out.
ref<node> must_make_directory(node& parent, std::string_view name);
void must_add(node& parent, std::string_view name, ref<node> child);

}  // namespace solaster::kernel::fs

// Which stacks there are, and how start-up makes one for each shard.
//
// Errors: std::system_error or std::runtime_error whose text is the line that the user sees (no tap, no rights).
#pragma once

#include "framework/future/future.hh"
#include "framework/socket/options.hh"

#include <memory>

namespace solaster {

class network_stack;

// Linux's sockets over the reactor's back end. In framework/socket/posix.
std::unique_ptr<network_stack> make_posix_stack();
// Our own TCP over a virtio NIC (guest) or a tap (--tap). In framework/socket/native. Made on each shard by the shard's
// own thread, shard 0 first; network_stack::initialize() follows, again shard 0 first.
std::unique_ptr<network_stack> make_native_stack(const network_options&);

// The one that the options name. For "none", and for a guest without a NIC, one whose every use fails with ENETDOWN.
std::unique_ptr<network_stack> make_network_stack(const network_options&);

// On shard 0, before the program's main: makes every shard's stack and waits until it can be used. `options` outlives
// the stacks.
future<> start_network(const network_options& options);

}  // namespace solaster

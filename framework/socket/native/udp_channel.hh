// UDP ports over this shard's net::stack. See api.hh for the contract.
#pragma once

#include "framework/socket/api.hh"

#include <memory>

namespace solaster::native {

// Throws std::system_error.
std::unique_ptr<datagram_channel_impl> make_channel(socket_address local, datagram_options options);

}  // namespace solaster::native

// UDP over readiness, which every back end has.
#pragma once

#include <memory>

#include "framework/socket/posix/descriptor.hh"
#include "framework/socket/posix/shared_address.hh"

namespace solaster::posix {

// Takes over a bound, non-blocking socket. Throws std::system_error.
std::unique_ptr<datagram_channel_impl> make_datagram_channel(descriptor fd, shared_address share);

}  // namespace solaster::posix

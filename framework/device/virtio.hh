// NIC 0 of a Solaster guest: net/virtio's driver on the registers that the direct interface hands out.
#pragma once

#include "framework/device/nic.hh"

namespace solaster {

// In a guest only. Shard 0.
std::unique_ptr<nic> open_virtio_nic(const nic_options& options, unsigned shards, net::memory& m);

}  // namespace solaster

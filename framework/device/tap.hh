// A tap device as a NIC: the other end of its cable is Linux.
//
// One descriptor a queue, non-blocking, with virtio's packet header in front of each packet (IFF_VNET_HDR): checksums
// are left to the other side in both directions, and large TCP packets go out uncut. Packets are read and written one a
// system call; that is what a tap offers.
//
// Owns: descriptors. Context: a queue: its shard, whose reactor says when there is something to read.
#pragma once

#include "framework/device/nic.hh"

namespace solaster {

// Opens the tap of this name, one queue a shard where it has several, else one. It has to exist (`ip tuntap add`) and
// to be ours.
std::unique_ptr<nic> open_tap_nic(const nic_options& options, unsigned shards);

}  // namespace solaster

// Which shard a received packet belongs to: the device's RSS in software.
//
// A flow's shard is the Toeplitz hash of its four-tuple through an indirection table, the same on every shard of a
// machine and in the device. An ICMP error belongs to the flow that it quotes. What is no flow (ARP, other ICMP, DHCP,
// fragments, nonsense) goes to shard 0.
//
// Spec: Virtio 1.2, 5.1.6.4.3; Microsoft, "RSS hashing functions". Context: any thread; read-only once made.
// Cost: 12 table look-ups a hash; nothing with one shard.
#pragma once

#include <array>
#include <cstdint>

#include "net/device/device.hh"
#include "net/wire/address.hh"

namespace solaster::net {

struct classification {
  enum class kind : uint8_t { flow, control } kind = kind::control;  // control: shard 0
  uint32_t hash = 0;  // flow: Toeplitz hash of the four-tuple; 0 with one shard
  uint32_t shard = 0;
  uint8_t protocol = 0;  // flow: of IP
  uint16_t port = 0;     // flow: ours
};

struct steering {
  rss_config rss;  // table values are shard numbers here
  uint32_t shards = 1;
  // lookup[i][v]: what byte i of the hashed tuple adds when its value is v. Follows from rss.key.
  std::array<std::array<uint32_t, 256>, 12> lookup{};

  // local = destination of the received packet.
  uint32_t toeplitz(const four_tuple& received) const noexcept;
  uint32_t shard_of(uint32_t hash) const noexcept { return rss.table[hash % rss.table.size()]; }
  // Reads the headers only.
  classification classify(const packet& p) const noexcept;
  classification flow(const four_tuple& received, uint8_t protocol) const noexcept;

  // The key of Microsoft's RSS specification and a table that deals shards out evenly.
  static steering make(uint32_t shards) noexcept;
  // The key and the table of a device.
  static steering make(const rss_config& config, uint32_t shards) noexcept;
};

}  // namespace solaster::net

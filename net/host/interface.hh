// What a host tells a stack about the interface it drives, and where the stack puts what it sends.
#pragma once

#include <cstdint>

#include "net/packet/packet.hh"
#include "net/wire/address.hh"

namespace solaster::net {

struct interface_config {
  mac_address mac;
  uint16_t mtu = 1500;
  bool tx_checksum = false;
  bool tso4 = false;
  uint32_t gso_max = 65535;
};

struct address_config {
  ipv4_address address;
  uint8_t prefix_length = 24;
  ipv4_address gateway{};  // any: none
};

// Where the stack puts packets to be sent.
class transmit_sink {
 public:
  virtual ~transmit_sink() = default;
  // Room for at least one packet more. False: the stack keeps what it has.
  virtual bool ready() noexcept = 0;
  virtual void put(packet_ptr p) noexcept = 0;
  // Only with several shards: a frame of ours to ourselves, to be received by the shard of its flow like any other. It
  // shares no memory with anything here. (With one shard the stack takes it itself.)
  virtual void loop(packet_ptr p) noexcept { p.reset(); }
};

}  // namespace solaster::net

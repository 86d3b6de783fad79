// DHCP messages as values: what a client reads and writes.
// Spec: RFC 2131 2 (format), RFC 2132 (options). Errors: parse gives nothing for what is no DHCP message to a client.
#pragma once

#include <cstdint>
#include <optional>

#include "net/wire/address.hh"

namespace solaster::net {

inline constexpr uint16_t dhcp_server_port = 67;
inline constexpr uint16_t dhcp_client_port = 68;

enum class dhcp_type : uint8_t {
  discover = 1,
  offer = 2,
  request = 3,
  decline = 4,
  ack = 5,
  nak = 6,
  release = 7,
  inform = 8
};

enum class dhcp_option : uint8_t {
  pad = 0,
  subnet_mask = 1,
  router = 3,
  host_name = 12,
  interface_mtu = 26,
  requested_address = 50,
  lease_time = 51,
  overload = 52,
  message_type = 53,
  server_id = 54,
  parameter_list = 55,
  max_size = 57,
  renewal_time = 58,
  rebinding_time = 59,
  client_id = 61,
  end = 255,
};

// What a server says.
struct dhcp_reply {
  dhcp_type type = dhcp_type::offer;
  uint32_t xid = 0;
  mac_address client;
  ipv4_address your_address;
  std::optional<ipv4_address> server_id, subnet_mask, router;
  std::optional<uint32_t> lease_seconds, renewal_seconds, rebinding_seconds;

  // A complete message of `n` bytes that lie together.
  static std::optional<dhcp_reply> parse(const std::byte* p, uint32_t n) noexcept;
};

// What a client says.
struct dhcp_query {
  dhcp_type type = dhcp_type::discover;
  uint32_t xid = 0;
  uint16_t elapsed_seconds = 0;
  mac_address client;
  ipv4_address client_address;  // ciaddr: in renewing and rebinding only
  bool broadcast = false;       // the answer must be broadcast
  std::optional<ipv4_address> requested_address, server_id;

  static constexpr uint32_t size_max = 300;  // also the least: some relays drop shorter ones (RFC 1542 2.1)
  void emit(std::byte* p) const noexcept;    // size_max bytes
};

}  // namespace solaster::net

// ARP for IPv4 over Ethernet: view and value.
// Spec: RFC 826; announcements and probes: RFC 5227.
#pragma once

#include <cstdint>

#include "net/base/endian.hh"
#include "net/wire/address.hh"
#include "net/wire/ethernet.hh"

namespace solaster::net {

enum class arp_operation : uint16_t { request = 1, reply = 2 };

inline constexpr uint32_t arp_size = 28;

class arp_view {
 public:
  // Ethernet and IPv4 with their sizes, a known operation, a unicast sender.
  static bool check(const std::byte* p, uint32_t available) noexcept {
    return available >= arp_size && load_be16(p) == 1 && load_be16(p + 2) == uint16_t(ethertype::ipv4) &&
           load8(p + 4) == 6 && load8(p + 5) == 4 && (load_be16(p + 6) == 1 || load_be16(p + 6) == 2) &&
           !(load8(p + 8) & 1);
  }
  explicit arp_view(const std::byte* checked) noexcept : _p(checked) {}
  arp_operation operation() const noexcept { return arp_operation(load_be16(_p + 6)); }
  mac_address sender_mac() const noexcept { return load_mac(_p + 8); }
  ipv4_address sender() const noexcept { return {load_be32(_p + 14)}; }
  mac_address target_mac() const noexcept { return load_mac(_p + 18); }
  ipv4_address target() const noexcept { return {load_be32(_p + 24)}; }

 private:
  const std::byte* _p;
};

struct arp_message {
  arp_operation operation = arp_operation::request;
  mac_address sender_mac;
  ipv4_address sender;
  mac_address target_mac;
  ipv4_address target;

  static constexpr uint32_t size = arp_size;
  void emit(std::byte* p) const noexcept {
    store_be16(p, 1);  // Ethernet
    store_be16(p + 2, uint16_t(ethertype::ipv4));
    store8(p + 4, 6);
    store8(p + 5, 4);
    store_be16(p + 6, uint16_t(operation));
    store_mac(p + 8, sender_mac);
    store_be32(p + 14, sender.value);
    store_mac(p + 18, target_mac);
    store_be32(p + 24, target.value);
  }
};

}  // namespace solaster::net

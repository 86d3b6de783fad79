// Ethernet II frames: view and value.
// Spec: IEEE 802.3 3.1.1; RFC 894. Frames of 802.2 (a length instead of a type) and VLAN tags have other types:
// dropped.
#pragma once

#include <cstdint>
#include <cstring>

#include "net/base/endian.hh"
#include "net/wire/address.hh"

namespace solaster::net {

enum class ethertype : uint16_t { ipv4 = 0x0800, arp = 0x0806, ipv6 = 0x86dd };

inline constexpr uint32_t ethernet_header_size = 14;

inline mac_address load_mac(const std::byte* p) noexcept {
  mac_address m;
  std::memcpy(m.bytes.data(), p, 6);
  return m;
}
inline void store_mac(std::byte* p, const mac_address& m) noexcept {
  std::memcpy(p, m.bytes.data(), 6);
}

// Over at least ethernet_header_size bytes.
class ethernet_view {
 public:
  static bool check(uint32_t available) noexcept { return available >= ethernet_header_size; }
  explicit ethernet_view(const std::byte* checked) noexcept : _p(checked) {}
  mac_address destination() const noexcept { return load_mac(_p); }
  mac_address source() const noexcept { return load_mac(_p + 6); }
  ethertype type() const noexcept { return ethertype(load_be16(_p + 12)); }
  bool multicast() const noexcept { return load8(_p) & 1; }  // broadcast too
  // The destination as the low 48 bits, in the machine's order: compare with mac_word.
  uint64_t destination_word() const noexcept { return load_raw<uint64_t>(_p) & 0xffff'ffff'ffff; }

 private:
  const std::byte* _p;
};

inline uint64_t mac_word(const mac_address& m) noexcept {
  uint64_t w = 0;
  std::memcpy(&w, m.bytes.data(), 6);
  return w;
}

struct ethernet_header {
  mac_address destination, source;
  ethertype type = ethertype::ipv4;

  static constexpr uint32_t size = ethernet_header_size;
  void emit(std::byte* p) const noexcept {
    store_mac(p, destination);
    store_mac(p + 6, source);
    store_be16(p + 12, uint16_t(type));
  }
};

}  // namespace solaster::net

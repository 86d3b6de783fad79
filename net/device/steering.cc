#include "net/device/steering.hh"

#include <algorithm>
#include <optional>

#include "net/packet/heap_buffer.hh"
#include "net/packet/packet.hh"
#include "net/wire/dhcp.hh"
#include "net/wire/ethernet.hh"
#include "net/wire/icmp.hh"
#include "net/wire/ipv4.hh"

namespace solaster::net {
namespace {

constexpr std::array<uint8_t, 40> microsoft_key = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
                                                   0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                                   0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
                                                   0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

// Ethernet, the longest IPv4 header, and the ports, or an ICMP error about as much.
constexpr uint32_t ports_size = 4;
constexpr uint32_t classify_bytes = ethernet_header_size + 2 * ipv4_header_max + icmp_header_size + ports_size;

// The four-tuple of the packet that is quoted in an ICMP error of `n` bytes: of ours, so its source is local.
std::optional<four_tuple> quoted_flow(const std::byte* icmp, uint32_t n, uint8_t& protocol) {
  if (n < icmp_header_size || !icmp_is_error(icmp_view(icmp).type()))
    return {};
  ipv4_view ip;
  if (ip.read(icmp + icmp_header_size, n - icmp_header_size, UINT32_MAX) != ipv4_fault::none ||
      n < icmp_header_size + ip.header_length() + ports_size || ip.fragment_offset() != 0)
    return {};
  protocol = ip.protocol();
  if (ip_protocol(protocol) != ip_protocol::tcp && ip_protocol(protocol) != ip_protocol::udp)
    return {};
  const std::byte* ports = ip.payload();
  return four_tuple{{ip.source(), load_be16(ports)}, {ip.destination(), load_be16(ports + 2)}};
}

// The 32 bits of the key from bit `at` on.
uint32_t key_window(const std::array<uint8_t, 40>& key, uint32_t at) {
  uint64_t w = 0;
  for (uint32_t i = 0; i < 5; ++i)
    w = w << 8 | key[at / 8 + i];
  return uint32_t(w >> (8 - at % 8));
}

}  // namespace

steering steering::make(const rss_config& config, uint32_t shards) noexcept {
  steering s;
  s.rss = config;
  s.shards = std::max(shards, 1u);
  for (auto& entry : s.rss.table)
    entry = uint16_t(entry % s.shards);
  for (uint32_t byte = 0; byte < s.lookup.size(); ++byte)
    for (uint32_t value = 0; value < 256; ++value) {
      uint32_t sum = 0;
      for (uint32_t bit = 0; bit < 8; ++bit)
        if (value & (0x80u >> bit))
          sum ^= key_window(config.key, byte * 8 + bit);
      s.lookup[byte][value] = sum;
    }
  return s;
}

steering steering::make(uint32_t shards) noexcept {
  rss_config config;
  config.key = microsoft_key;
  for (uint32_t i = 0; i < config.table.size(); ++i)
    config.table[i] = uint16_t(i % std::max(shards, 1u));
  return make(config, shards);
}

uint32_t steering::toeplitz(const four_tuple& t) const noexcept {
  const uint32_t from = t.remote.address.value, to = t.local.address.value;
  const uint32_t ports = uint32_t(t.remote.port) << 16 | t.local.port;
  auto word = [this](uint32_t at, uint32_t v) {
    return lookup[at][v >> 24] ^ lookup[at + 1][v >> 16 & 0xff] ^ lookup[at + 2][v >> 8 & 0xff] ^
           lookup[at + 3][v & 0xff];
  };
  return word(0, from) ^ word(4, to) ^ word(8, ports);
}

classification steering::flow(const four_tuple& t, uint8_t protocol) const noexcept {
  if (shards == 1)
    return {classification::kind::flow, 0, 0, protocol, t.local.port};
  const uint32_t hash = toeplitz(t);
  return {classification::kind::flow, hash, shard_of(hash), protocol, t.local.port};
}

classification steering::classify(const packet& p) const noexcept {
  const std::byte* b = p.front().data();
  uint32_t n = p.front().size();
  std::byte copy[classify_bytes];
  if (n < classify_bytes && p.fragment_count() > 1) [[unlikely]] {
    n = std::min(p.size(), classify_bytes);
    copy_out(p, 0, copy, n);
    b = copy;
  }
  if (n < ethernet_header_size || ethernet_view(b).type() != ethertype::ipv4)
    return {};
  b += ethernet_header_size;
  n -= ethernet_header_size;
  ipv4_view ip;
  if (ip.read(b, n, p.size() - ethernet_header_size) != ipv4_fault::none)
    return {};
  const auto protocol = ip_protocol(ip.protocol());
  if (ip.is_fragment())
    return {};
  if (protocol == ip_protocol::icmp) {
    uint8_t quoted = 0;
    const auto tuple = quoted_flow(ip.payload(), std::min<uint32_t>(n, ip.total_length()) - ip.header_length(), quoted);
    return tuple ? flow(*tuple, quoted) : classification{};
  }
  if (protocol != ip_protocol::tcp && protocol != ip_protocol::udp)
    return {};
  if (n < ip.header_length() + ports_size || ip.total_length() < ip.header_length() + ports_size)
    return {};
  const std::byte* ports = ip.payload();
  const four_tuple tuple{{ip.destination(), load_be16(ports + 2)}, {ip.source(), load_be16(ports)}};
  if (protocol == ip_protocol::udp && tuple.local.port == dhcp_client_port)
    return {};
  return flow(tuple, uint8_t(protocol));
}

}  // namespace solaster::net

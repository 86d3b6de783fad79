#include "tests/unit/net/support/frames.hh"

#include <cstdio>

namespace solaster::net::testing {
namespace {

uint16_t get16(const bytes& b, size_t at) {
  return uint16_t(b.at(at) << 8 | b.at(at + 1));
}
uint32_t get32(const bytes& b, size_t at) {
  return uint32_t(get16(b, at)) << 16 | get16(b, at + 2);
}
bytes mac_bytes(mac_address m) {
  return bytes(m.bytes.begin(), m.bytes.end());
}
bytes tail(const bytes& b, size_t from) {
  return bytes(b.begin() + long(from), b.end());
}

std::string mac_text(const bytes& b, size_t at) {
  char s[32];
  std::snprintf(s, sizeof s, "%02x:%02x:%02x:%02x:%02x:%02x", b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4],
                b[at + 5]);
  return s;
}
std::string ip_text(uint32_t v) {
  char s[32];
  std::snprintf(s, sizeof s, "%u.%u.%u.%u", v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255);
  return s;
}
uint32_t pseudo(uint32_t from, uint32_t to, uint8_t protocol, size_t length) {
  return (from >> 16) + (from & 0xffff) + (to >> 16) + (to & 0xffff) + protocol + uint32_t(length);
}

std::string describe_transport(uint8_t protocol, uint32_t from, uint32_t to, const bytes& t) {
  const std::string a = ip_text(from), b = ip_text(to);
  if (protocol == 1) {
    std::string out = "icmp " + std::to_string(t.at(0)) + "/" + std::to_string(t.at(1)) + " " + a + " > " + b +
                      " len " + std::to_string(t.size() - 8);
    return sum_of(t) == 0 ? out : out + " BAD CHECKSUM";
  }
  if (protocol == 17) {
    std::string out = "udp " + a + ":" + std::to_string(get16(t, 0)) + " > " + b + ":" + std::to_string(get16(t, 2)) +
                      " len " + std::to_string(t.size() - 8);
    if (get16(t, 4) != t.size())
      out += " BAD LENGTH";
    if (get16(t, 6) == 0 || sum_of(t, pseudo(from, to, 17, t.size())) != 0)
      out += " BAD CHECKSUM";
    return out;
  }
  if (protocol == 6) {
    std::string out =
        "tcp " + a + ":" + std::to_string(get16(t, 0)) + " > " + b + ":" + std::to_string(get16(t, 2)) + " ";
    const char* names = "FSRPAUEC";
    for (int i = 0; i < 8; ++i)
      if (t.at(13) >> i & 1)
        out += names[i];
    return out + " len " + std::to_string(t.size() - (t.at(12) >> 4) * 4u);
  }
  return "ip protocol " + std::to_string(protocol);
}

}  // namespace

bytes operator+(bytes a, const bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
bytes text(const std::string& s) {
  return bytes(s.begin(), s.end());
}
bytes be16(uint16_t v) {
  return {uint8_t(v >> 8), uint8_t(v)};
}
bytes be32(uint32_t v) {
  return {uint8_t(v >> 24), uint8_t(v >> 16), uint8_t(v >> 8), uint8_t(v)};
}

uint16_t sum_of(const bytes& b, uint32_t sum) {
  for (size_t i = 0; i < b.size(); ++i) {
    sum += i % 2 ? b[i] : uint32_t(b[i]) << 8;
    sum = (sum & 0xffff) + (sum >> 16);
  }
  sum = (sum & 0xffff) + (sum >> 16);
  return uint16_t(~sum);
}

bytes ethernet(mac_address to, mac_address from, uint16_t type, const bytes& payload) {
  return mac_bytes(to) + mac_bytes(from) + be16(type) + payload;
}
bytes arp(uint16_t op, mac_address sender_mac, ipv4_address sender, mac_address target_mac, ipv4_address target) {
  return bytes{0, 1, 8, 0, 6, 4} + be16(op) + mac_bytes(sender_mac) + be32(sender.value) + mac_bytes(target_mac) +
         be32(target.value);
}
bytes ip(ipv4_address from, ipv4_address to, uint8_t protocol, const bytes& payload, const ip_fields& f) {
  bytes h = bytes{uint8_t(0x40 | (5 + f.options.size() / 4)), 0} +
            be16(uint16_t(20 + f.options.size() + payload.size())) + be16(f.id) + be16(f.fragment) +
            bytes{f.ttl, protocol, 0, 0} + be32(from.value) + be32(to.value) + f.options;
  const uint16_t sum = sum_of(h);
  h[10] = uint8_t(sum >> 8);
  h[11] = uint8_t(sum);
  return h + payload;
}
bytes icmp(uint8_t type, uint8_t code, uint32_t rest, const bytes& payload) {
  bytes b = bytes{type, code, 0, 0} + be32(rest) + payload;
  const uint16_t sum = sum_of(b);
  b[2] = uint8_t(sum >> 8);
  b[3] = uint8_t(sum);
  return b;
}
bytes echo(uint8_t type, uint16_t id, uint16_t sequence, const bytes& payload) {
  return icmp(type, 0, uint32_t(id) << 16 | sequence, payload);
}
bytes udp(ipv4_address from, uint16_t from_port, ipv4_address to, uint16_t to_port, const bytes& payload) {
  bytes b = be16(from_port) + be16(to_port) + be16(uint16_t(8 + payload.size())) + be16(0) + payload;
  const uint16_t sum = sum_of(b, pseudo(from.value, to.value, 17, b.size()));
  b[6] = uint8_t(sum >> 8);
  b[7] = uint8_t(sum);
  return b;
}
bytes tcp_segment(ipv4_address from, uint16_t from_port, ipv4_address to, uint16_t to_port, uint32_t seq, uint32_t ack,
                  uint8_t flags, const bytes& payload, uint16_t window) {
  bytes b =
      be16(from_port) + be16(to_port) + be32(seq) + be32(ack) + bytes{0x50, flags} + be16(window) + be32(0) + payload;
  const uint16_t sum = sum_of(b, pseudo(from.value, to.value, 6, b.size()));
  b[16] = uint8_t(sum >> 8);
  b[17] = uint8_t(sum);
  return b;
}
bytes dhcp_reply_bytes(uint32_t xid, mac_address client, ipv4_address yours, const bytes& options) {
  return bytes{2, 1, 6, 0} + be32(xid) + bytes(8) + be32(yours.value) + bytes(8) + mac_bytes(client) + bytes(202) +
         bytes{0x63, 0x82, 0x53, 0x63} + options;
}

std::string describe(const bytes& f) {
  if (f.size() < 14)
    return "short";
  const std::string to = " to " + mac_text(f, 0);
  const uint16_t type = get16(f, 12);
  const bytes b = tail(f, 14);
  if (type == 0x0806) {
    const std::string sender = ip_text(get32(b, 14)), target = ip_text(get32(b, 24));
    return (get16(b, 6) == 1 ? "arp request " + sender + " asks " + target
                             : "arp reply " + sender + " is " + mac_text(b, 8)) +
           to;
  }
  if (type != 0x0800)
    return "type " + std::to_string(type) + to;
  const size_t header = (b.at(0) & 15u) * 4;
  if (sum_of(bytes(b.begin(), b.begin() + long(header))) != 0)
    return "BAD IP CHECKSUM" + to;
  if (get16(b, 2) != b.size())
    return "BAD IP LENGTH" + to;
  return describe_transport(b.at(9), get32(b, 12), get32(b, 16), tail(b, header)) + to;
}

}  // namespace solaster::net::testing

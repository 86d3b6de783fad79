#include "net/wire/dhcp.hh"

#include <cstring>

#include "net/base/endian.hh"
#include "net/wire/ethernet.hh"

namespace solaster::net {
namespace {

constexpr uint32_t magic = 0x63825363;
constexpr uint32_t fixed_size = 236;
constexpr uint8_t boot_request = 1, boot_reply = 2;
// Fields of the fixed part (RFC 2131, figure 1).
constexpr uint32_t at_xid = 4, at_secs = 8, at_flags = 10, at_ciaddr = 12, at_yiaddr = 16, at_chaddr = 28,
                   at_sname = 44, at_file = 108;
constexpr uint32_t sname_size = 64, file_size = 128;

void read_option(dhcp_reply& out, bool& typed, uint8_t& overload, dhcp_option code, const std::byte* p,
                 uint32_t n) noexcept {
  auto address = [&](std::optional<ipv4_address>& field) {
    if (n >= 4)
      field = ipv4_address{load_be32(p)};
  };
  auto number = [&](std::optional<uint32_t>& field) {
    if (n == 4)
      field = load_be32(p);
  };
  switch (code) {
    case dhcp_option::message_type:
      if (n == 1) {
        out.type = dhcp_type(load8(p));
        typed = true;
      }
      break;
    case dhcp_option::overload:
      if (n == 1)
        overload = load8(p);
      break;
    case dhcp_option::subnet_mask:
      address(out.subnet_mask);
      break;
    case dhcp_option::router:
      address(out.router);
      break;  // the first is preferred
    case dhcp_option::server_id:
      address(out.server_id);
      break;
    case dhcp_option::lease_time:
      number(out.lease_seconds);
      break;
    case dhcp_option::renewal_time:
      number(out.renewal_seconds);
      break;
    case dhcp_option::rebinding_time:
      number(out.rebinding_seconds);
      break;
    default:
      break;
  }
}

// Walks one field of options; false: malformed.
bool read_options(dhcp_reply& out, bool& typed, uint8_t& overload, const std::byte* p, uint32_t n) noexcept {
  while (n > 0) {
    const auto code = dhcp_option(load8(p));
    if (code == dhcp_option::end)
      return true;
    if (code == dhcp_option::pad) {
      ++p;
      --n;
      continue;
    }
    if (n < 2 || load8(p + 1) > n - 2u)
      return false;
    const uint32_t length = load8(p + 1);
    read_option(out, typed, overload, code, p + 2, length);
    p += 2 + length;
    n -= 2 + length;
  }
  return true;  // a missing end option is common
}

}  // namespace

std::optional<dhcp_reply> dhcp_reply::parse(const std::byte* p, uint32_t n) noexcept {
  if (n < fixed_size + 4 || load8(p) != boot_reply || load8(p + 1) != 1 || load8(p + 2) != 6)
    return {};
  if (load_be32(p + fixed_size) != magic)
    return {};
  dhcp_reply out;
  out.xid = load_be32(p + at_xid);
  out.client = load_mac(p + at_chaddr);
  out.your_address = {load_be32(p + at_yiaddr)};
  bool typed = false;
  uint8_t overload = 0;
  if (!read_options(out, typed, overload, p + fixed_size + 4, n - fixed_size - 4))
    return {};
  const uint8_t more = overload;
  if ((more & 1) && !read_options(out, typed, overload, p + at_file, file_size))
    return {};
  if ((more & 2) && !read_options(out, typed, overload, p + at_sname, sname_size))
    return {};
  if (!typed)
    return {};
  return out;
}

void dhcp_query::emit(std::byte* p) const noexcept {
  std::memset(p, 0, size_max);
  store8(p, boot_request);
  store8(p + 1, 1);  // Ethernet
  store8(p + 2, 6);
  store_be32(p + at_xid, xid);
  store_be16(p + at_secs, elapsed_seconds);
  store_be16(p + at_flags, broadcast ? 0x8000 : 0);
  store_be32(p + at_ciaddr, client_address.value);
  store_mac(p + at_chaddr, client);
  store_be32(p + fixed_size, magic);
  std::byte* o = p + fixed_size + 4;
  auto head = [&](dhcp_option code, uint32_t n) {
    store8(o, uint8_t(code));
    store8(o + 1, uint8_t(n));
    o += 2;
  };
  head(dhcp_option::message_type, 1);
  store8(o++, uint8_t(type));
  head(dhcp_option::client_id, 7);
  store8(o, 1);
  store_mac(o + 1, client);
  o += 7;
  auto address = [&](dhcp_option code, const std::optional<ipv4_address>& a) {
    if (!a)
      return;
    head(code, 4);
    store_be32(o, a->value);
    o += 4;
  };
  address(dhcp_option::requested_address, requested_address);
  address(dhcp_option::server_id, server_id);
  head(dhcp_option::max_size, 2);
  store_be16(o, 576);
  o += 2;
  head(dhcp_option::parameter_list, 5);
  for (auto code : {dhcp_option::subnet_mask, dhcp_option::router, dhcp_option::lease_time, dhcp_option::renewal_time,
                    dhcp_option::rebinding_time})
    store8(o++, uint8_t(code));
  store8(o++, uint8_t(dhcp_option::end));
}

}  // namespace solaster::net

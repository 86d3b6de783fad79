#include "net/ip/icmp.hh"

#include <algorithm>
#include <iterator>

#include "net/packet/heap_buffer.hh"
#include "net/wire/checksum.hh"

namespace solaster::net {

std::optional<icmp_report> icmp::input(ipv4_address source, ipv4_address destination, bool broadcast, packet_ptr p,
                                       instant now) noexcept {
  std::byte* b = p->front().data();
  if (!icmp_view::check(p->front().size()))
    return _stats.drop(drop_reason::icmp_malformed), std::nullopt;
  if (!checksum_good(checksum_packet(*p, 0, p->size())))
    return _stats.drop(drop_reason::icmp_checksum), std::nullopt;
  const icmp_view view(b);
  if (view.type() == icmp_type::echo_request && view.code() == 0) {
    if (broadcast)
      return _stats.drop(drop_reason::ip_not_ours), std::nullopt;  // RFC 1122 3.2.2.6 allows silence
    // The request becomes the reply; type and code are one word of the sum (RFC 1624).
    const uint16_t old_sum = load_raw<uint16_t>(b + icmp_header::checksum_offset);
    const uint64_t sum = uint64_t(uint16_t(~old_sum)) + uint16_t(~load_raw<uint16_t>(b));
    store8(b, uint8_t(icmp_type::echo_reply));
    store_raw<uint16_t>(b + icmp_header::checksum_offset, uint16_t(~checksum_fold(sum + load_raw<uint16_t>(b))));
    p->offload = {};
    _ip.output(destination, source, ip_protocol::icmp, std::move(p), now);
    return {};
  }
  if (icmp_is_error(view.type())) {
    auto report = read_error(view, b + icmp_header_size, p->front().size() - icmp_header_size, _ip.local(source));
    if (!report)
      _stats.drop(drop_reason::icmp_malformed);
    return report;
  }
  _stats.drop(drop_reason::protocol_unknown);
  return {};
}

namespace {

// RFC 1191 7, table 7-1: where links' MTUs lie.
constexpr uint16_t plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68};

// The next hop's MTU of a router that names none (or nonsense), as it did before RFC 1191: the next plateau below the
// packet that was too large (5).
uint32_t plateau_below(uint32_t size) {
  for (uint32_t p : plateaus)
    if (p < size)
      return p;
  return plateaus[std::size(plateaus) - 1];
}

}  // namespace

std::optional<icmp_report> read_own_flow(const std::byte* ip, uint32_t n) noexcept {
  // A quotation is shorter than the packet: its total length is not checked against what is here.
  ipv4_view v;
  if (v.read(ip, n, UINT32_MAX) != ipv4_fault::none)
    return {};
  const auto protocol = ip_protocol(v.protocol());
  if (v.fragment_offset() != 0 || n < v.header_length() + 8 ||
      (protocol != ip_protocol::tcp && protocol != ip_protocol::udp))
    return {};
  const std::byte* transport = v.payload();
  return icmp_report{.protocol = protocol,
                     .flow = {{v.source(), load_be16(transport)}, {v.destination(), load_be16(transport + 2)}},
                     .seq = protocol == ip_protocol::tcp ? load_be32(transport + 4) : 0,
                     .packet_size = v.total_length()};
}

std::optional<icmp_report> icmp::read_error(const icmp_view& header, const std::byte* quoted, uint32_t n,
                                            bool looped) const noexcept {
  auto report = read_own_flow(quoted, n);
  if (!report)
    return {};
  // Nobody outside speaks about what we say to ourselves.
  const ipv4_address from = report->flow.local.address;
  if (looped ? !_ip.local(from) : _ip.kind_of(from) != ipv4::destination_kind::ours)
    return {};
  if (header.type() == icmp_type::unreachable) {
    switch (icmp_unreachable(header.code())) {
      case icmp_unreachable::protocol:
        report->error = errc::noprotoopt;
        report->hard = true;
        break;
      case icmp_unreachable::port:
        report->error = errc::connrefused;
        report->hard = true;
        break;
      case icmp_unreachable::fragmentation_needed:
        report->error = errc::msgsize;
        report->mtu = header.next_hop_mtu();
        if (report->mtu < ipv4_mtu_min || report->mtu >= report->packet_size)
          report->mtu = plateau_below(report->packet_size);
        break;
      case icmp_unreachable::network:
        report->error = errc::netunreach;
        break;
      case icmp_unreachable::network_prohibited:
      case icmp_unreachable::host_prohibited:
      case icmp_unreachable::prohibited:
        report->error = errc::acces;
        break;
      default:
        break;
    }
    return report;
  }
  if (header.type() == icmp_type::time_exceeded)
    return report;
  if (header.type() == icmp_type::parameter_problem) {
    report->error = errc::prototype;
    return report;
  }
  return {};  // source quench (RFC 6633) and redirects are ignored
}

void icmp::send_unreachable(icmp_unreachable code, const packet& original, instant now) noexcept {
  constexpr uint32_t quote_max = 576 - ipv4_header_min - icmp_header_size;  // RFC 1812 4.3.2.3
  ipv4_view v;
  if (v.read(original.front().data(), original.front().size(), UINT32_MAX) != ipv4_fault::none)
    return;
  if (_ip.bad_source(v.source()) && !_ip.local(v.source()))
    return;
  if (!take_token(now))
    return _stats.drop(drop_reason::rate_limit);
  const uint32_t quote = std::min(original.size(), quote_max);
  packet_ptr p = _link.make_packet(icmp_header_size + quote);
  if (!p)
    return _stats.drop(drop_reason::no_memory);
  std::byte* b = p->extend(icmp_header_size + quote);
  icmp_header{.type = icmp_type::unreachable, .code = uint8_t(code)}.emit(b);
  copy_out(original, 0, b + icmp_header_size, quote);
  store_raw<uint16_t>(b + icmp_header::checksum_offset,
                      uint16_t(~checksum_fold(checksum_bytes(b, icmp_header_size + quote))));
  _ip.output(v.destination(), v.source(), ip_protocol::icmp, std::move(p), now);
}

bool icmp::take_token(instant now) noexcept {
  const int64_t per_token = 1'000'000'000 / std::max<int64_t>(_config.icmp_errors_per_second, 1);
  const int64_t earned = (now - _refilled).ns / per_token;
  if (earned > 0) {
    _tokens = uint32_t(
        std::min<int64_t>(_config.icmp_errors_burst, _tokens + std::min<int64_t>(earned, _config.icmp_errors_burst)));
    _refilled = now;
  }
  if (_tokens == 0)
    return false;
  --_tokens;
  return true;
}

}  // namespace solaster::net

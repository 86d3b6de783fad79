#include "tests/sim/tcp_host.hh"

#include <algorithm>
#include <cstring>
#include <utility>

#include "net/packet/heap_buffer.hh"
#include "net/wire/checksum.hh"
#include "net/wire/tcp.hh"

namespace solaster::sim {

using namespace net;

namespace {
constexpr uint8_t protocol_tcp = 6;
constexpr uint32_t headroom = 64;

void seal(std::byte* segment, uint32_t size, ip_address source, ip_address destination) {
  store_raw<uint16_t>(segment + tcp_checksum_offset, 0);
  const uint64_t sum = checksum_bytes(segment, size, pseudo_header_sum(source, destination, protocol_tcp, size));
  store_raw<uint16_t>(segment + tcp_checksum_offset, uint16_t(~checksum_fold(sum)));
}
}  // namespace

wire::wire(uint32_t buffer_size)
    : pool(buffer_pool::make(home, {.buffer_size = buffer_size, .buffers_max = 1 << 20})) {}
wire::~wire() = default;

packet_ptr wire::make(uint32_t size) {
  packet_ptr p = slab.make();
  CHECK(p);
  fragment f = size <= pool->buffer_size() ? pool->allocate(0, size) : make_heap_fragment(home, size);
  CHECK(f);
  p->append(std::move(f));
  return p;
}

tcp_host::tcp_host(const host_config& config, wire& w)
    : _config(config),
      _wire(w),
      _line(config.line, config.seed ^ config.address.value, w.home, w.slab),
      _headers(buffer_pool::make(_home, {.buffer_size = 1024, .buffers_max = 1 << 16})),
      _random(config.seed * 31 + config.address.value),
      _tcp(new tcp::layer(config.stack, _home, *this, _events, _stats)) {
  CHECK(_tcp->valid());
}
tcp_host::~tcp_host() = default;

ip_address tcp_host::destination(const packet& p) {
  return {load_be32(p.front().data() + 4)};
}

result<tcp::path> tcp_host::find_path(ip_address, ip_address source) noexcept {
  if (!source.any() && source != _config.address) {
    return errc::addrnotavail;
  }
  return tcp::path{_config.address, _config.mtu, _config.offload, _config.offload ? 65535u : 0u};
}

packet_ptr tcp_host::make_packet(uint32_t payload_room) noexcept {
  if (_refuse) {
    return nullptr;
  }
  packet_ptr p = _slab.make();
  if (!p) {
    return nullptr;
  }
  fragment f = headroom + payload_room <= _headers->buffer_size() ? _headers->allocate(headroom, 0)
                                                                  : make_heap_fragment(_home, payload_room, headroom);
  if (!f) {
    return nullptr;
  }
  f.truncate(0);
  p->append(std::move(f));
  return p;
}

void tcp_host::transmit(instant now) {
  _transmitting = true;
  _tcp->transmit(now);
  _transmitting = false;
  _room = false;
}

bool tcp_host::ready() noexcept {
  _room = _transmitting && _line.queued() < _config.tx_depth;
  return _room;
}

void tcp_host::send(ip_address source, ip_address destination, packet_ptr p, instant now) noexcept {
  CHECK(std::exchange(_room, false));
  ++_segments;
  const uint32_t header = tcp_view(p->front().data()).header_length();
  const uint32_t payload = p->size() - header;
  if (p->offload.gso == gso_type::none) {
    CHECK(p->size() <= _config.mtu - 20u);
    emit(source, destination, *p, 0, payload, true, now);
    return;
  }
  CHECK(p->offload.gso_size && p->offload.checksum == checksum_state::partial && payload <= 65535);
  for (uint32_t at = 0; at < payload; at += p->offload.gso_size) {
    const uint32_t n = std::min<uint32_t>(p->offload.gso_size, payload - at);
    emit(source, destination, *p, at, n, at + n == payload, now);
  }
}

// One packet on the wire: payload bytes [offset, offset + length) behind the header.
void tcp_host::emit(ip_address source, ip_address destination, const packet& p, uint32_t offset, uint32_t length,
                    bool last, instant now) {
  const uint32_t header = tcp_view(p.front().data()).header_length();
  packet_ptr out = _wire.make(envelope + header + length);
  std::byte* at = out->front().data();
  store_be32(at, source.value);
  store_be32(at + 4, destination.value);
  std::byte* segment = at + envelope;
  copy_out(p, 0, segment, header);
  copy_out(p, header + offset, segment + header, length);
  if (offset || !last) {
    store_be32(segment + 4, load_be32(segment + 4) + offset);
    if (!last) {
      segment[13] &= ~std::byte(tcp_fin | tcp_psh);
    }
  }
  if (p.offload.checksum == checksum_state::partial) {
    seal(segment, header + length, source, destination);
  }
  _line.put(std::move(out), now);
}

void tcp_host::deliver(packet_list&& burst, instant now) {
  while (packet_ptr p = burst.pop_front()) {
    if (_config.merge) {
      p = merge(burst, std::move(p));
    }
    input(std::move(p), now);
  }
}

void tcp_host::input(packet_ptr p, instant now) {
  tcp::segment_info info;
  const std::byte* at = p->front().data();
  info.source = {load_be32(at)};
  info.destination = {load_be32(at + 4)};
  info.checksum = _config.trust_checksum || p->offload.checksum == checksum_state::valid ? checksum_state::valid
                                                                                         : checksum_state::none;
  p->trim_front(envelope);
  _tcp->input(info, std::move(p), now);
}

// What receive offload does: segments of one flow in a row become one, if their checksums are good.
packet_ptr tcp_host::merge(packet_list& burst, packet_ptr first) {
  const auto good = [](const packet& p) {
    const std::byte* at = p.front().data();
    const uint32_t size = p.size() - envelope;
    const auto pseudo = pseudo_header_sum({load_be32(at)}, {load_be32(at + 4)}, protocol_tcp, size);
    return size >= tcp_header_min && tcp_view(at + envelope).header_length() == tcp_header_min &&
           checksum_good(checksum_bytes(at + envelope, size, pseudo));
  };
  constexpr uint32_t headers = envelope + tcp_header_min;
  if (!good(*first)) {
    return first;
  }
  std::byte* head = first->front().data();
  while (packet* next = burst.front()) {
    const std::byte* at = next->front().data();
    const tcp_view a(head + envelope);
    const tcp_view b(at + envelope);
    const bool same = std::memcmp(head, at, envelope + 4) == 0 && b.seq() == a.seq() + (first->size() - headers) &&
                      a.ack() == b.ack() && a.window() == b.window() && (a.flags() & ~tcp_psh) == tcp_ack &&
                      (b.flags() & ~tcp_psh) == tcp_ack && next->size() > headers && first->size() > headers;
    if (!same || first->full() || !good(*next)) {
      break;
    }
    head[envelope + 13] |= std::byte(b.flags() & tcp_psh);
    packet_ptr p = burst.pop_front();
    p->trim_front(headers);
    first->append(p->pop_front());
  }
  first->offload.checksum = checksum_state::valid;
  return first;
}

result<uint16_t> tcp_host::choose_port(ip_address local, endpoint remote,
                                       bool (*used)(void*, const four_tuple&) noexcept, void* context) noexcept {
  for (uint32_t tries = 0; tries < 100000; ++tries) {
    const auto port = uint16_t(_random.between(32768, 60999));
    if (!used(context, {{local, port}, remote})) {
      return port;
    }
  }
  return errc::addrnotavail;
}

}  // namespace solaster::sim

// Building segments: header, payload by reference or by copy, checksum or the device's part of it.
#include <algorithm>
#include <cstring>

#include "net/tcp/core.hh"
#include "net/tcp/limits.hh"
#include "net/wire/checksum.hh"

namespace solaster::net::tcp {

namespace {
constexpr uint8_t protocol_tcp = 6;
}

bool core::send_segment(connection& c, cursor& at, seq begin, uint32_t& length, bool& fin, instant now) noexcept {
  const uint32_t planned = length;
  packet_ptr p = make_segment(c, at, length);
  if (!p) {
    return false;
  }
  fin = fin && length == planned;
  uint8_t flags = tcp_ack;
  if (fin) {
    flags |= tcp_fin;
  }
  // The last of what we have: the peer need not wait for more.
  if (uint32_t(begin - c.snd_una) + length >= c.send_bytes && length) {
    flags |= tcp_psh;
  }
  finish(c, std::move(p), begin, flags, length, now);
  return true;
}

// A packet with room for the header and the payload behind it.
packet_ptr core::make_segment(connection& c, cursor& at, uint32_t& length) noexcept {
  if (length <= send_copy_max) {
    return copy_payload(c, at, length);
  }
  packet_ptr p = _ip.make_packet(tcp_header_min);
  if (!p) {
    return nullptr;
  }
  p->extend(tcp_header_min);
  cursor shared = at;
  if (share_payload(c, *p, shared, length)) {
    at = shared;
    return p;
  }
  // Crumbs: more fragments than a packet takes in one segment's length.
  length = std::min<uint32_t>(length, c.mss);
  return copy_payload(c, at, length);
}

packet_ptr core::copy_payload(connection& c, cursor& at, uint32_t length) noexcept {
  packet_ptr p = _ip.make_packet(tcp_header_min + length);
  if (!p) {
    return nullptr;
  }
  std::byte* to = p->extend(tcp_header_min + length) + tcp_header_min;
  stats.copied_bytes += length;
  while (length) {
    const fragment& f = c.send_queue.at(at.index);
    const uint32_t n = std::min(f.size() - at.offset, length);
    std::memcpy(to, f.data() + at.offset, n);
    to += n;
    length -= n;
    at.offset += n;
    if (at.offset == f.size()) {
      ++at.index;
      at.offset = 0;
    }
  }
  return p;
}

// References to the payload, as far as fragments go; then a whole number of segments. False: not even one segment.
bool core::share_payload(connection& c, packet& p, cursor& at, uint32_t& length) noexcept {
  uint32_t left = length;
  while (left && !p.full()) {
    const fragment& f = c.send_queue.at(at.index);
    const uint32_t n = std::min(f.size() - at.offset, left);
    p.append(f.share(at.offset, n));
    left -= n;
    at.offset += n;
    if (at.offset == f.size()) {
      ++at.index;
      at.offset = 0;
    }
  }
  if (left == 0) {
    return true;
  }
  const uint32_t got = length - left;
  if (got < c.mss) {
    return false;
  }
  const uint32_t whole = got - got % c.mss;
  p.truncate(tcp_header_min + whole);
  // Back over what was too much.
  for (uint32_t back = got - whole; back;) {
    if (at.offset == 0) {
      at.offset = c.send_queue.at(--at.index).size();
    }
    const uint32_t n = std::min(at.offset, back);
    at.offset -= n;
    back -= n;
  }
  length = whole;
  return true;
}

bool core::send_pure_ack(connection& c, instant now) noexcept {
  packet_ptr p = _ip.make_packet(tcp_header_min);
  if (!p) {
    return false;
  }
  p->extend(tcp_header_min);
  // RFC 9293 3.10.7.4: <SEQ=SND.NXT>; while resending that lies behind. A probe's byte may not have been taken.
  finish(c, std::move(p), c.trouble.persisting ? c.snd_nxt : c.snd_max, tcp_ack, 0, now);
  return true;
}

// Header, checksum, and out. Every segment acknowledges.
void core::finish(connection& c, packet_ptr p, seq begin, uint8_t flags, uint32_t payload, instant now) noexcept {
  const ip_address from = c.key.local();
  const ip_address to = c.key.remote();
  std::byte* at = p->front().data();
  tcp_header header;
  header.source_port = c.key.local_port();
  header.destination_port = c.key.remote_port();
  header.seq = begin.value();
  header.ack = c.rcv_nxt.value();
  header.flags = flags;
  header.window = advertise(c);
  header.emit(at);
  const uint32_t size = tcp_header_min + payload;
  const uint64_t pseudo = pseudo_header_sum(from, to, protocol_tcp, size);
  if (c.way.tx_checksum) {
    store_raw<uint16_t>(at + tcp_checksum_offset, checksum_fold(pseudo));
    p->offload.checksum = checksum_state::partial;
    p->offload.checksum_start = 0;
    p->offload.checksum_offset = tcp_checksum_offset;
    if (payload > c.mss) {
      p->offload.gso = gso_type::tcpv4;
      p->offload.gso_size = c.mss;
      p->offload.header_length = tcp_header_min;
    }
  } else {
    store_raw<uint16_t>(at + tcp_checksum_offset, uint16_t(~checksum_fold(checksum_packet(*p, 0, size, pseudo))));
  }
  ++c.counters.segments_sent;
  ack_sent(c);
  _ip.send(from, to, std::move(p), now);
}

// What is acknowledged now needs no ACK of its own.
void core::ack_sent(connection& c) noexcept {
  c.rcv_acked = c.rcv_nxt;
  c.ack_now = false;
  c.ack_pending = false;
  disarm(c, timer::delayed_ack);
}

void core::reply(const flow_key& key, seq begin, seq ack, uint8_t flags, uint16_t window,
                 const tcp_options* options) noexcept {
  if (_replies.size() >= replies_max) {
    return;
  }
  const uint32_t options_length = options ? options->size() : 0;
  const uint32_t size = tcp_header_min + options_length;
  packet_ptr p = _ip.make_packet(size);
  if (!p) {
    return;
  }
  std::byte* at = p->extend(size);
  tcp_header header;
  header.source_port = key.local_port();
  header.destination_port = key.remote_port();
  header.seq = begin.value();
  header.ack = ack.value();
  header.flags = flags;
  header.window = window;
  header.options_length = options_length;
  header.emit(at);
  if (options) {
    options->emit(at + tcp_header_min);
  }
  const uint64_t pseudo = pseudo_header_sum(key.local(), key.remote(), protocol_tcp, size);
  store_raw<uint16_t>(at + tcp_checksum_offset, uint16_t(~checksum_fold(checksum_bytes(at, size, pseudo))));
  p->note.set(reply_addresses{key.local(), key.remote()});
  if (flags & tcp_rst) {
    ++stats.tcp_resets_sent;
  }
  _replies.push_back(std::move(p));
}

void core::reply_ack(const connection& c, seq begin) noexcept {
  const int32_t window = c.rcv_adv - c.rcv_nxt;
  const uint32_t field = window > 0 ? uint32_t(window) >> c.rcv_scale : 0;
  reply(c.key, begin, c.rcv_nxt, tcp_ack, uint16_t(std::min(field, window_unscaled_max)));
}

// With the number that the peer expects, so that it believes it (RFC 5961 3.2).
void core::reply_reset(const connection& c) noexcept {
  reply(c.key, c.snd_max, c.rcv_nxt, tcp_rst | tcp_ack, 0);
}

}  // namespace solaster::net::tcp

#include "net/virtio/net_queue.hh"

#include <algorithm>
#include <cstring>

#include "net/packet/heap_buffer.hh"

namespace solaster::net::virtio {

namespace {

// A buffer in the ring carries its one reference along, without a fragment to hold it.
buffer* detach(fragment f) noexcept {
  ++f.owner()->refs;
  return f.owner();
}
fragment attach(void* token) noexcept {
  auto* b = static_cast<buffer*>(token);
  fragment f(b, b->data, b->capacity);
  --b->refs;
  return f;
}

}  // namespace

net_queue::~net_queue() {
  drop_partial();
  while (void* token = _rx.take_back())
    attach(token).reset();
  while (void* token = _tx.take_back())
    packet_ptr(static_cast<packet*>(token)).reset();
  if (_headers)
    _memory.deallocate_dma(_headers);
}

result<> net_queue::init_ring(split_ring& ring, uint16_t index, uint16_t size) noexcept {
  TRY(ring.init(_memory, size, _setup.event_idx));
  return _transport.enable_queue(index, size, ring.addresses(), _setup.vector);
}

result<> net_queue::init() noexcept {
  uint32_t buffers = uint32_t(_setup.rx_size) * pool_factor;
  _pool.reset(buffer_pool::make(_memory,
                                {.buffer_size = _setup.buffer_size, .buffers_max = buffers, .low_water = buffers / 4}));
  if (!_pool)
    return errc::nomem;
  _headers = _memory.allocate_dma(size_t(_setup.tx_size) * sizeof(net_hdr), 64);
  if (!_headers)
    return errc::nomem;
  TRY(init_ring(_rx, rx_index(), _setup.rx_size));
  TRY(init_ring(_tx, tx_index(), _setup.tx_size));
  _batch = std::clamp<uint16_t>(_setup.rx_size / 2, 1, refill_batch);
  add_buffers();
  return _rx.outstanding() ? result<>{} : errc::nomem;
}

// ------------------------------------------------------------------ receive

void net_queue::add_buffers() noexcept {
  _starving = false;
  while (_rx.free_count() > 0 && !_rx.broken()) {
    fragment f = _pool->allocate(0, _setup.buffer_size);
    if (!f) {
      _starving = true;
      break;
    }
    segment s{f.bus(_memory), f.size()};
    _rx.add_one(s, true, detach(std::move(f)));
  }
  _rx.publish();
}

size_t net_queue::receive(packet_list& into, size_t max) noexcept {
  size_t n = 0;
  split_ring::used_chain u;
  while (n < max && _rx.take_used(u)) {
    if (packet_ptr p = take_whole(u)) [[likely]] {
      ++n;
      ++_stats.rx_packets;
      _stats.rx_bytes += p->size();
      into.push_back(std::move(p));
      continue;
    }
    if (_partial_missing == 0) {
      start_packet(u, attach(u.token));
    } else {
      continue_packet(u, attach(u.token));
    }
    if (_partial_missing != 0)
      continue;
    if (_partial_bad) {
      drop_partial();
      continue;
    }
    ++n;
    ++_stats.rx_packets;
    _stats.rx_bytes += _partial->size();
    into.push_back(std::move(_partial));
  }
  // Also when nothing came: the ring may have run dry while memory was out, or on packets that were dropped.
  if (_rx.free_count() >= _batch || _starving)
    add_buffers();
  return n;
}

// Without VIRTIO_NET_F_GUEST_CSUM the device has to leave both flags alone (5.1.6.4.1): its word is not taken, and the
// sum is checked like any other.
void net_queue::set_checksum(packet_offload& o, const net_hdr& h) const noexcept {
  if (!_setup.guest_checksum) [[unlikely]]
    return;
  if (h.flags & hdr_f_needs_csum) {
    o.checksum = checksum_state::partial;
    o.checksum_start = h.csum_start;
    o.checksum_offset = h.csum_offset;
  } else if (h.flags & hdr_f_data_valid) {
    o.checksum = checksum_state::valid;
  }
}

// The frequent case, one sound buffer that is the packet. Null: it is not that; nothing has been done.
packet_ptr net_queue::take_whole(const split_ring::used_chain& u) noexcept {
  if (_partial_missing != 0 || u.lied || u.length <= sizeof(net_hdr) || _pool->low()) [[unlikely]]
    return nullptr;
  auto* b = static_cast<buffer*>(u.token);
  net_hdr h;
  memcpy(&h, b->data, sizeof(h));  // once: the device may change it behind our back
  if ((_setup.mergeable && h.num_buffers != 1) || h.gso_type != hdr_gso_none)
    return nullptr;
  packet_ptr p = _slab.make();
  if (!p) [[unlikely]]
    return nullptr;
  set_checksum(p->offload, h);
  p->append(fragment(b, b->data + sizeof(h), u.length - uint32_t(sizeof(h))));
  --b->refs;  // the ring's
  return p;
}

// The first buffer of a packet: header, then bytes. Leaves _partial_missing and either a sound _partial or
// _partial_bad.
void net_queue::start_packet(const split_ring::used_chain& u, fragment f) noexcept {
  net_hdr h{};
  bool bad = u.lied || u.length <= sizeof(h);
  if (!bad)
    memcpy(&h, f.data(), sizeof(h));  // once: the device may change it behind our back
  uint16_t buffers = bad || !_setup.mergeable ? 1 : h.num_buffers;
  if (buffers == 0 || buffers > packet::fragments_max || buffers > _rx.size()) {
    bad = true;
    buffers = 1;
  }
  _own_errors += bad && !u.lied;
  _partial_missing = uint16_t(buffers - 1);
  _partial_bad = bad;
  if (!bad) {
    _partial = _slab.make();
    _partial_bad = !_partial;
  }
  if (_partial_bad)
    return;

  packet_offload& o = _partial->offload;
  set_checksum(o, h);
  if (_setup.receives_large && (h.gso_type & ~hdr_gso_ecn) == hdr_gso_tcpv4) {
    o.gso = gso_type::tcpv4;
    o.gso_size = h.gso_size;
  }
  f.truncate(u.length);
  f.trim_front(sizeof(h));
  append_received(std::move(f));
}

void net_queue::continue_packet(const split_ring::used_chain& u, fragment f) noexcept {
  --_partial_missing;
  if (u.lied || u.length == 0) {
    _own_errors += !u.lied;
    _partial_bad = true;
  }
  if (_partial_bad)
    return;
  f.truncate(u.length);
  append_received(std::move(f));
}

// While the pool is low, what came in moves to memory of its own size and the buffer goes home.
void net_queue::append_received(fragment f) noexcept {
  if (_pool->low()) {
    fragment copy = copy_to_heap(_memory, f.data(), f.size());
    if (!copy) {
      _partial_bad = true;
      return;
    }
    _stats.copied_bytes += f.size();
    f = std::move(copy);
  }
  _partial->append(std::move(f));
}

void net_queue::drop_partial() noexcept {
  if (_partial_bad || _partial_missing)
    ++_stats.rx_dropped;
  _partial.reset();
  _partial_bad = false;
  _partial_missing = 0;
}

// ------------------------------------------------------------------ transmit

size_t net_queue::transmit(packet_list& from) noexcept {
  size_t n = 0;
  _tx_full = false;
  while (packet* p = from.front()) {
    if (_tx.broken()) {  // nothing will ever be sent: dropped
      from.pop_front();
      ++n;
      continue;
    }
    uint32_t needed = p->fragment_count() + 1;
    if (_tx.free_count() < needed)
      reap();
    if (_tx.free_count() < needed) {
      _tx_full = !_tx.broken();
      if (_tx_full)
        break;
      continue;
    }
    send(from.pop_front());
    ++n;
  }
  _tx.publish();
  return n;
}

// Puts a header in front of the packet. Returns where it is to be written; `s` moves past a segment of its own, if it
// has one.
std::byte* net_queue::place_header(packet& p, segment*& s) noexcept {
  fragment& first = p.front();
  if (first.unique() && first.headroom() >= sizeof(net_hdr)) {
    std::byte* at = p.prepend(sizeof(net_hdr));
    if (first.bus(_memory).reachable())
      return at;
    p.trim_front(sizeof(net_hdr));
  }
  size_t offset = size_t(_tx.next_head()) * sizeof(net_hdr);
  *s++ = {_headers.bus + offset, sizeof(net_hdr)};
  return _headers.base + offset;
}

namespace {

net_hdr make_header(const packet_offload& o) noexcept {
  net_hdr h{};
  if (o.checksum == checksum_state::partial) {
    h.flags = hdr_f_needs_csum;
    h.csum_start = o.checksum_start;
    h.csum_offset = o.checksum_offset;
  }
  if (o.gso == gso_type::tcpv4) {
    h.gso_type = hdr_gso_tcpv4;
    h.gso_size = o.gso_size;
    h.hdr_len = o.header_length;
  }
  return h;
}

}  // namespace

// False: the device cannot be made to reach it; it is dropped.
bool net_queue::send(packet_ptr p) noexcept {
  uint32_t bytes = p->size();
  const net_hdr h = make_header(p->offload);
  fragment& first = p->front();
  if (p->fragment_count() == 1 && first.unique() && first.headroom() >= sizeof(h) && first.owner()->bus.reachable())
      [[likely]] {
    memcpy(p->prepend(sizeof(h)), &h, sizeof(h));
    _tx.add_one({first.bus(_memory), first.size()}, false, p.get());
  } else if (!send_pieces(*p, h)) {
    return false;
  }
  ++_stats.tx_packets;
  _stats.tx_bytes += bytes;
  p.release();
  return true;
}

bool net_queue::send_pieces(packet& p, const net_hdr& h) noexcept {
  segment segments[packet::fragments_max + 1];
  segment* s = segments;
  memcpy(place_header(p, s), &h, sizeof(h));
  for (uint32_t i = 0; i < p.fragment_count(); ++i) {
    if (p.frag(i).empty())
      continue;
    dma_addr bus = p.frag(i).bus(_memory);
    if (!bus.reachable()) [[unlikely]] {
      if (!make_reachable(p, i))
        return false;
      bus = p.frag(i).bus(_memory);
    }
    *s++ = {bus, p.frag(i).size()};
  }
  _tx.add(segments, unsigned(s - segments), 0, &p);
  return true;
}

// Copies a fragment that the device cannot reach.
bool net_queue::make_reachable(packet& p, uint32_t index) noexcept {
  fragment& f = p.frag(index);
  fragment copy = copy_to_heap(_memory, f.data(), f.size());
  if (!copy || !copy.bus(_memory).reachable())
    return false;
  _stats.copied_bytes += f.size();
  f = std::move(copy);
  return true;
}

bool net_queue::is_valid() const noexcept {
  if (!_rx.is_valid() || !_tx.is_valid() || (_pool && !_pool->is_valid()))
    return false;
  // What misses buffers is there, unless it is to be thrown away.
  return _partial_missing == 0 || _partial_bad || (_partial && _partial->is_valid());
}

void net_queue::reap() noexcept {
  split_ring::used_chain u;
  while (_tx.take_used(u))
    packet_ptr(static_cast<packet*>(u.token)).reset();
}

// ------------------------------------------------------------------ notifications

void net_queue::kick() noexcept {
  if (_tx.needs_kick()) {
    _transport.notify(tx_index());
    ++_stats.kicks;
  }
  if (_rx.needs_kick()) {
    _transport.notify(rx_index());
    ++_stats.kicks;
  }
}

bool net_queue::arm() noexcept {
  DCHECK(is_valid());
  bool quiet = _rx.arm(1);
  if (_tx_full && _tx.outstanding() > 0) {
    // Half of what is under way, so that one interrupt makes room for many packets.
    quiet &= _tx.arm(uint16_t(_tx.outstanding() / 2 + 1));
  }
  return quiet;
}

void net_queue::disarm() noexcept {
  _rx.disarm();
  _tx.disarm();
}

}  // namespace solaster::net::virtio

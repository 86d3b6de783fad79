#include "net/device/loopback.hh"

#include <algorithm>

namespace solaster::net {

loopback_device::loopback_device(mac_address mac, uint16_t queue_pairs, bool offloads) noexcept {
  _info.mac = mac;
  _info.queue_pairs_max = std::clamp<uint16_t>(queue_pairs, 1, pairs_max);
  _info.tx_checksum = _info.tso4 = _info.receives_large = offloads;
}

void loopback_device::join(loopback_device& a, loopback_device& b) noexcept {
  for (size_t i = 0; i < pairs_max; ++i) {
    a._queues[i].peer = &b._queues[i];
    b._queues[i].peer = &a._queues[i];
  }
}

result<> loopback_device::set_queue_pairs(uint16_t pairs) noexcept {
  if (pairs == 0 || pairs > _info.queue_pairs_max)
    return errc::inval;
  _pairs = pairs;
  return {};
}

result<queue*> loopback_device::open_queue(const queue_config& config, memory&, packet_slab&) noexcept {
  if (config.index >= _pairs)
    return errc::inval;
  pair& q = _queues[config.index];
  if (q.open)
    return errc::busy;
  q.open = true;
  q.depth = config.rx_depth;
  return &q;
}

result<> loopback_device::start() noexcept {
  _started = true;
  return {};
}

void loopback_device::reset() noexcept {
  for (pair& q : _queues) {
    q.waiting = packet_list();
    q.open = false;
  }
  _started = false;
}

size_t loopback_device::pair::receive(packet_list& into, size_t max) noexcept {
  size_t n = 0;
  for (; n < max; ++n) {
    packet_ptr p = waiting.pop_front();
    if (!p)
      break;
    ++counters.rx_packets;
    counters.rx_bytes += p->size();
    into.push_back(std::move(p));
  }
  return n;
}

size_t loopback_device::pair::transmit(packet_list& from) noexcept {
  size_t n = 0;
  while (from.front() && !(peer && peer->open && peer->waiting.size() >= peer->depth)) {
    packet_ptr p = from.pop_front();
    ++n;
    ++counters.tx_packets;
    counters.tx_bytes += p->size();
    if (peer && peer->open) {
      peer->waiting.push_back(std::move(p));
    }
  }
  return n;
}

}  // namespace solaster::net

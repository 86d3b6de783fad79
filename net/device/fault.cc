#include "net/device/fault.hh"

#include <algorithm>

#include "net/packet/heap_buffer.hh"

namespace solaster::net {

fault_counters& fault_counters::operator+=(const fault_counters& o) noexcept {
  packets += o.packets;
  bytes += o.bytes;
  lost += o.lost;
  reordered += o.reordered;
  duplicated += o.duplicated;
  corrupted += o.corrupted;
  overflowed += o.overflowed;
  delivered += o.delivered;
  return *this;
}

fault_line::~fault_line() {
  while (_held) {
    packet_ptr p(_held);
    _held = p->next;
    p->next = nullptr;
  }
}

void fault_line::put(packet_ptr p, instant now) noexcept {
  ++_counters.packets;
  _counters.bytes += p->size();
  if (_queued >= _config.queue_max) {
    ++_counters.overflowed;
    return;
  }
  if (_config.bits_per_second) {
    const uint64_t ns = uint64_t(p->size()) * 8 * 1'000'000'000 / _config.bits_per_second;
    _wire_free = std::max(_wire_free, now) + nanoseconds(int64_t(ns));
  } else {
    _wire_free = now;
  }
  if (_config.loss_ppm && _random.chance_ppm(_config.loss_ppm)) {
    ++_counters.lost;
    return;
  }
  instant at = _wire_free + _config.delay;
  if (_config.jitter.ns) {
    at = at + nanoseconds(int64_t(_random.below(uint64_t(_config.jitter.ns))));
  }
  if (_config.duplicate_ppm && _random.chance_ppm(_config.duplicate_ppm)) {
    if (packet_ptr second = copy(*p)) {
      ++_counters.duplicated;
      insert_held(std::move(second), round_up(at + hold_back()));
    }
  }
  if (_config.corrupt_ppm && _random.chance_ppm(_config.corrupt_ppm)) {
    ++_counters.corrupted;
    corrupt(*p);
  }
  if (_config.reorder_ppm && _random.chance_ppm(_config.reorder_ppm)) {
    ++_counters.reordered;
    insert_held(std::move(p), round_up(at + hold_back()));
    return;
  }
  _last_due = std::max(_last_due, round_up(at));
  p->note.set(_last_due);
  _in_order.push_back(std::move(p));
  ++_queued;
}

size_t fault_line::take(packet_list& into, instant now) noexcept {
  size_t taken = 0;
  for (;;) {
    packet* first = _in_order.front();
    packet_ptr p;
    if (_held && (!first || due(*_held) < due(*first))) {
      if (due(*_held) > now) {
        break;
      }
      p.reset(_held);
      _held = p->next;
      p->next = nullptr;
    } else if (first && due(*first) <= now) {
      p = _in_order.pop_front();
    } else {
      break;
    }
    into.push_back(std::move(p));
    --_queued;
    ++taken;
  }
  _counters.delivered += taken;
  return taken;
}

instant fault_line::next_deadline() const noexcept {
  instant next = instant::never();
  if (!_in_order.empty()) {
    next = due(*_in_order.front());
  }
  if (_held) {
    next = std::min(next, due(*_held));
  }
  return next;
}

instant fault_line::round_up(instant t) const noexcept {
  const int64_t q = _config.quantum.ns;
  return q ? instant{(t.ns + q - 1) / q * q} : t;
}

duration fault_line::hold_back() noexcept {
  return nanoseconds(1 + int64_t(_random.below(uint64_t(std::max<int64_t>(_config.reorder_delay_max.ns, 1)))));
}

packet_ptr fault_line::copy(const packet& p) noexcept {
  packet_ptr q = _slab.make();
  fragment f = make_heap_fragment(_memory, p.size());
  if (!q || !f) {
    return nullptr;
  }
  copy_out(p, 0, f.data(), p.size());
  q->append(std::move(f));
  q->offload = p.offload;
  return q;
}

void fault_line::corrupt(packet& p) noexcept {
  if (p.size() == 0) {
    return;
  }
  const uint64_t bit = _random.below(uint64_t(p.size()) * 8);
  uint64_t byte = bit / 8;
  for (uint32_t i = 0; i < p.fragment_count(); ++i) {
    fragment& f = p.frag(i);
    if (byte < f.size()) {
      f.data()[byte] ^= std::byte(1u << bit % 8);
      return;
    }
    byte -= f.size();
  }
}

// Held packets are few: a sorted list does.
void fault_line::insert_held(packet_ptr p, instant at) noexcept {
  p->note.set(at);
  packet** link = &_held;
  while (*link && due(**link) <= at) {
    link = &(*link)->next;
  }
  packet* raw = p.release();
  raw->next = *link;
  *link = raw;
  ++_queued;
}

}  // namespace solaster::net

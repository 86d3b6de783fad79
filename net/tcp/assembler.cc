#include "net/tcp/assembler.hh"

#include <algorithm>

namespace solaster::net::tcp {

bool assembler::insert(piece p, uint32_t segments_max) noexcept {
  packet* previous = predecessor(p.begin);
  if (!trim(p, previous)) {
    return false;
  }
  if (_size >= segments_max) {
    // Earlier data is worth more: it goes up first.
    if (previous == _tail) {
      return false;
    }
    packet* before_last = previous;
    for (packet* q = previous ? previous->next : _head; q != _tail; q = q->next) {
      before_last = q;
    }
    unlink_after(before_last);
  }
  packet* q = p.payload.release();
  q->note.set(position{p.begin, p.fin});
  packet*& link = previous ? previous->next : _head;
  q->next = link;
  link = q;
  if (!q->next) {
    _tail = q;
  }
  ++_size;
  _charge += charge_of(*q);
  return true;
}

// The last piece that begins at `at` or before. Mostly that is the last one.
packet* assembler::predecessor(seq at) const noexcept {
  if (_tail && begin(_tail) <= at) {
    return _tail;
  }
  packet* previous = nullptr;
  for (packet* q = _head; q && begin(q) <= at; q = q->next) {
    previous = q;
  }
  return previous;
}

// Cuts from `p` what its neighbours have, and drops those that it covers whole. False: nothing is left of it.
bool assembler::trim(piece& p, packet* previous) noexcept {
  uint32_t length = p.payload->size();
  if (previous) {
    const seq covered = end(previous);
    if (p.begin + length <= covered && (!p.fin || fin(previous))) {
      return false;
    }
    if (p.begin < covered) {
      const uint32_t overlap = std::min(uint32_t(covered - p.begin), length);
      p.payload->trim_front(overlap);
      length -= overlap;
      p.begin = covered;
    }
  }
  const auto next = [&] { return previous ? previous->next : _head; };
  while (next() && end(next()) <= p.begin + length && !fin(next())) {
    unlink_after(previous);
  }
  if (next() && begin(next()) < p.begin + length) {
    length = uint32_t(begin(next()) - p.begin);
    p.payload->truncate(length);
    p.fin = false;  // or there would be bytes behind the end
    return length != 0;
  }
  return true;
}

bool assembler::take(seq rcv_nxt, piece& out) noexcept {
  while (_head && begin(_head) <= rcv_nxt) {
    packet_ptr p = unlink_after(nullptr);
    const bool has_fin = fin(p.get());
    const seq last = end(p.get());
    if (last < rcv_nxt || (last == rcv_nxt && !has_fin)) {
      continue;
    }
    p->trim_front(uint32_t(rcv_nxt - begin(p.get())));
    out = {rcv_nxt, std::move(p), has_fin};
    return true;
  }
  return false;
}

void assembler::clear() noexcept {
  while (_head) {
    unlink_after(nullptr);
  }
}

bool assembler::is_valid() const noexcept {
  uint32_t count = 0;
  uint32_t charge = 0;
  if (bool(_head) != bool(_tail)) {
    return false;
  }
  for (const packet* p = _head; p; p = p->next) {
    ++count;
    charge += charge_of(*p);
    if (p->next && begin(p->next) < end(p)) {
      return false;
    }
    if (!p->next && p != _tail) {
      return false;
    }
  }
  return count == _size && charge == _charge;
}

packet_ptr assembler::unlink_after(packet* previous) noexcept {
  packet*& link = previous ? previous->next : _head;
  packet_ptr p(link);
  link = p->next;
  p->next = nullptr;
  if (!link) {
    _tail = previous;
  }
  --_size;
  _charge -= charge_of(*p);
  return p;
}

}  // namespace solaster::net::tcp

// Payload and FIN: in order to the application, out of order to the assembler; and which ACK is due for it.
//
// What a segment pins is not what it carries: a ring buffer of 2 KiB may hold ten bytes. Small payload moves to
// right-sized buffers, the very next to it in the same buffer, and so does anything that pins many times its size.
// Spec: RFC 9293 3.10.7.4 steps 7, 8; 3.8.6.3 (delayed ACK); RFC 5681 4.2.
#include <algorithm>

#include "net/packet/heap_buffer.hh"
#include "net/tcp/core.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

// Seventh and eighth. The segment has been cut to the window.
void core::process_text(connection& c, incoming& s, instant now) noexcept {
  if ((s.length == 0 && !s.has(tcp_fin)) || !may_receive(c.st)) {
    return;
  }
  if (s.begin != c.rcv_nxt) {
    accept_out_of_order(c, s);
    return;
  }
  if (s.length && !accept_in_order(c, std::move(s.payload), s.length, now)) {
    return;
  }
  bool fin = s.has(tcp_fin);
  if (!c.out_of_order.empty()) {
    // RFC 5681 4.2: what fills a gap is acknowledged at once; duplicates announced so far no longer matter.
    c.duplicate_acks_due = 0;
    c.ack_now = true;
    want_output(c);
    assembler::piece piece;
    while (!fin && c.out_of_order.take(c.rcv_nxt, piece)) {
      account_out_of_order(c);
      const uint32_t length = piece.payload->size();
      if (length && !accept_in_order(c, std::move(piece.payload), length, now)) {
        return;
      }
      fin = piece.fin;
    }
    account_out_of_order(c);
  }
  if (fin) {
    process_fin(c, now);
  }
}

void core::accept_out_of_order(connection& c, incoming& s) noexcept {
  ++c.counters.out_of_order;
  if (c.duplicate_acks_due < duplicate_acks_max) {
    ++c.duplicate_acks_due;
  }
  want_output(c);
  if (s.payload->charge() > 2 * s.length) {
    right_size(*s.payload);
  }
  // The last quarter is for what is in order: it moves on, and what waits for gaps may wait for ever.
  if (!may_hold(c, assembler::charge_of(*s.payload), _config.receive_memory_max / 4 * 3)) {
    stats.drop(drop_reason::tcp_memory);
    return;
  }
  c.out_of_order.insert({s.begin, std::move(s.payload), s.has(tcp_fin)}, _config.out_of_order_segments_max);
  account_out_of_order(c);
}

bool core::accept_in_order(connection& c, packet_ptr p, uint32_t length, instant now) noexcept {
  if (c.receive_closed) [[unlikely]] {
    c.unread_lost |= c.held;
    if (!c.held && c.st == state::fin_wait_2) {
      // Nobody is left to read it (RFC 1122 4.2.2.13).
      reply_reset(c);
      become_closed(c);
      return false;
    }
    p.reset();
  } else if (!queue_text(c, std::move(p))) {
    stats.drop(drop_reason::tcp_memory);
    c.ack_now = true;
    want_output(c);
    return false;
  }
  c.rcv_nxt += length;
  c.counters.bytes_received += length;
  schedule_ack(c, now);
  post(c, connection_readable);
  return true;
}

// RFC 9293 3.8.6.3: every second full segment at once, the rest within the delay, on whatever is sent by then.
void core::schedule_ack(connection& c, instant now) noexcept {
  if (uint32_t(c.rcv_nxt - c.rcv_acked) >= 2u * c.mss) {
    c.ack_now = true;
    want_output(c);
  } else if (!c.ack_pending) {
    c.ack_pending = true;
    arm(c, timer::delayed_ack, now + _config.delayed_ack);
  }
}

bool core::queue_text(connection& c, packet_ptr p) noexcept {
  const uint32_t length = p->size();
  if (length <= _config.copy_break_bytes && queue_small(c, *p)) [[likely]] {
    return true;
  }
  uint32_t charge = p->charge();
  if (charge > 4 * length || (charge > 2 * length && c.receive_held() > c.receive_limit / 2)) {
    right_size(*p);
    charge = p->charge();
  }
  const uint32_t count = p->fragment_count();
  if (!may_hold(c, charge, _config.receive_memory_max)) {
    // What came before its turn gives way.
    c.out_of_order.clear();
    account_out_of_order(c);
    if (!may_hold(c, charge, _config.receive_memory_max)) {
      return false;
    }
  }
  if (!c.receive_queue.reserve(_memory, count)) {
    return false;
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (!p->frag(i).empty()) {
      c.receive_queue.push(std::move(p->frag(i)));
    } else {
      charge -= p->frag(i).owner()->charge;
    }
  }
  c.receive_bytes += length;
  c.receive_charge += charge;
  _receive_memory += charge;
  return true;
}

// A copy: behind what the last small buffer holds, or in a new one.
bool core::queue_small(connection& c, const packet& p) noexcept {
  const uint32_t length = p.size();
  std::byte* to;
  fragment* last = c.receive_queue.empty() ? nullptr : &c.receive_queue.back();
  if (last && last->owner()->owner == _small.get() && last->unique() && last->tailroom() >= length) {
    to = last->data() + last->size();
    last->append(length);
  } else {
    const bool room = _receive_memory < _small_plenty || may_hold(c, _small_charge, _config.receive_memory_max);
    fragment f = room ? _small->allocate(0, length) : fragment();
    if (!f || !c.receive_queue.reserve(_memory, 1)) {
      return false;
    }
    const uint32_t charge = f.owner()->charge;
    to = f.data();
    c.receive_queue.push(std::move(f));
    c.receive_charge += charge;
    _receive_memory += charge;
  }
  copy_out(p, 0, to, length);
  c.receive_bytes += length;
  stats.copied_bytes += length;
  return true;
}

// Moves the payload to memory of its size. Without memory it stays where it is.
void core::right_size(packet& p) noexcept {
  const uint32_t length = p.size();
  fragment f = make_heap_fragment(_memory, length);
  if (!f) {
    return;
  }
  copy_out(p, 0, f.data(), length);
  p.clear();
  p.append(std::move(f));
  stats.copied_bytes += length;
}

void core::process_fin(connection& c, instant now) noexcept {
  c.rcv_nxt += 1;
  c.fin_received = true;
  c.out_of_order.clear();
  account_out_of_order(c);
  c.duplicate_acks_due = 0;
  c.ack_now = true;
  want_output(c);
  switch (c.st) {
    case state::established:
      c.st = state::close_wait;
      break;
    case state::fin_wait_1:
      // Our FIN is not acknowledged: step 5 would have moved on.
      c.st = state::closing;
      break;
    case state::fin_wait_2:
      post(c, connection_readable);
      enter_time_wait(c, now);
      return;
    default:
      break;
  }
  post(c, connection_readable);
}

}  // namespace solaster::net::tcp

// What may be sent now: the windows, Nagle's algorithm, silly windows, retransmissions, and ACKs that could not ride
// along. Spec: RFC 9293 3.7.4, 3.8.6; RFC 5681; RFC 3042.
#include <algorithm>

#include "net/tcp/core.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

void core::transmit(instant now) noexcept {
  if (!_replies.empty() && !flush_replies(now)) [[unlikely]] {
    return;
  }
  while (connection* c = _output.front()) {
    const bool taken = output(*c, now);
    DCHECK(c->is_valid());
    if (!taken) {
      return;
    }
  }
}

// False: the device is full; the connection stays in the list.
bool core::output(connection& c, instant now) noexcept {
  if (!synchronized(c.st)) [[unlikely]] {
    if (!output_syn(c, now)) {
      return false;
    }
    _output.remove(&c);
    return true;
  }
  if (c.trouble.due != resend::nothing) [[unlikely]] {
    if (!_ip.ready()) {
      return false;
    }
    send_again(c, now);
  }
  if (c.snd_una == c.snd_max && now - c.last_sent > c.rtt.rto(_config)) {
    c.congestion.idle();
  }
  bool more = false;
  for (uint32_t burst = 0;; ++burst) {
    plan next = next_segment(c);
    if (!next.go) {
      break;
    }
    if (burst == output_burst_max) {
      more = true;
      break;
    }
    if (!_ip.ready()) {
      return false;
    }
    cursor at{c.nxt_index, c.nxt_offset};
    if (!send_segment(c, at, c.snd_nxt, next.length, next.fin, now)) {
      // No memory: as good as lost.
      if (c.deadline(timer::retransmit) == instant::never()) {
        arm(c, timer::retransmit, now + c.rtt.rto(_config));
      }
      break;
    }
    c.nxt_index = at.index;
    c.nxt_offset = at.offset;
    sent(c, c.snd_nxt, next.length, next.fin, now);
  }
  if (!output_acks(c, now)) {
    return false;
  }
  _output.remove(&c);
  if (more) {
    _output.push_back(&c);
  } else if (c.send_bytes > c.flight() && c.deadline(timer::retransmit) == instant::never()) {
    // Nothing in flight would ever bring an ACK: probe (RFC 9293 3.8.6.1).
    c.trouble.persisting = true;
    arm(c, timer::retransmit, now + c.rtt.rto(_config));
  }
  return true;
}

core::plan core::next_segment(const connection& c) const noexcept {
  const uint32_t offset = c.flight();
  if (offset >= c.send_bytes) {
    return {.go = c.fin_unacknowledged() && offset == c.send_bytes, .fin = true};
  }
  const uint32_t available = c.send_bytes - offset;
  const uint32_t cwnd = c.congestion.cwnd() + c.recovery.extra_segments() * c.mss;
  const uint32_t window = std::min(c.snd_wnd, cwnd);
  if (window <= offset) {
    return {};
  }
  const uint32_t usable = window - offset;
  uint32_t length = std::min(std::min(available, usable), c.segment_max);
  const bool resending = c.snd_nxt < c.snd_max && !c.trouble.persisting;
  // A small segment at the end of the data waits while another small one is in flight (Nagle, as Minshall put it).
  const bool tail_may_go = c.options.nodelay || c.fin_queued || resending || c.snd_sml <= c.snd_una;
  if (length < c.mss) {
    if (length == available) {
      if (!tail_may_go) {
        return {};
      }
    } else if (!resending && (window == cwnd || length < c.snd_wnd_max / 2)) {
      // RFC 9293 3.8.6.2.1: no small segment because a window is nearly full; an ACK comes, or the persist timer.
      return {};
    }
  } else if (length > c.mss) {
    const uint32_t rest = length % c.mss;
    if (rest && (length < available || !tail_may_go)) {
      length -= rest;
    }
  }
  return {.go = true, .fin = c.fin_queued && length == available, .length = length};
}

// Accounts for a segment sent at snd_nxt.
void core::sent(connection& c, seq begin, uint32_t length, bool fin, instant now) noexcept {
  const seq end = begin + (length + fin);
  if (begin == c.snd_max) {
    if (!c.timing) {
      c.timing = true;
      c.timed_end = end;
      c.timed_at = now;
    }
    c.counters.bytes_sent += length;
  } else {
    ++c.counters.retransmitted;
    ++stats.tcp_retransmits;
  }
  c.snd_nxt = end;
  c.snd_max = later(c.snd_max, end);
  c.last_sent = now;
  if (length < c.mss) {
    c.snd_sml = end;
  }
  if (c.deadline(timer::retransmit) == instant::never() || c.trouble.persisting) {
    if (c.trouble.persisting) {
      c.trouble.persisting = false;
      c.rtt.clear_backoff();
    }
    arm(c, timer::retransmit, now + c.rtt.rto(_config));
  }
}

void core::send_again(connection& c, instant now) noexcept {
  if (std::exchange(c.trouble.due, resend::nothing) == resend::probe) {
    send_probe(c, now);
  } else {
    resend_front(c, now);
  }
}

// One segment at snd_una, whatever snd_nxt is.
void core::resend_front(connection& c, instant now) noexcept {
  const uint32_t outstanding = c.outstanding();
  if (outstanding == 0 || c.snd_nxt == c.snd_una) {
    return;
  }
  uint32_t length = std::min({uint32_t(c.mss), c.send_bytes, outstanding});
  bool fin = c.fin_queued && length == c.send_bytes && outstanding > length;
  cursor at{c.send_queue.head(), 0};
  send_segment(c, at, c.snd_una, length, fin, now);
  c.timing = false;
  ++c.counters.retransmitted;
  ++stats.tcp_retransmits;
}

// The persist timer has struck: what the window takes, else one byte beyond it. snd_nxt == snd_una. A FIN alone needs
// no window, output() sends it.
void core::send_probe(connection& c, instant now) noexcept {
  if (c.send_bytes == 0) {
    return;
  }
  uint32_t length = std::clamp<uint32_t>(std::min(c.snd_wnd, c.send_bytes), 1, c.mss);
  bool fin = false;
  cursor at{c.send_queue.head(), 0};
  const seq begin = c.snd_una;
  if (!send_segment(c, at, begin, length, fin, now)) {
    return;
  }
  if (c.snd_wnd == 0) {
    c.snd_max = later(c.snd_max, begin + length);
    return;
  }
  c.nxt_index = at.index;
  c.nxt_offset = at.offset;
  sent(c, begin, length, false, now);
}

// ACKs that found no data to ride on. False: the device is full.
bool core::output_acks(connection& c, instant now) noexcept {
  // Each segment out of order deserves its own ACK, after the one for what came in order before it.
  if (c.duplicate_acks_due) {
    c.ack_now = c.rcv_nxt != c.rcv_acked;
  }
  while (c.ack_now || c.duplicate_acks_due) {
    if (!_ip.ready()) {
      return false;
    }
    const bool first = c.ack_now;
    if (!send_pure_ack(c, now)) {
      // No memory: the peer asks again, or the delayed ACK does.
      c.ack_now = false;
      c.duplicate_acks_due = 0;
      return true;
    }
    if (!first) {
      --c.duplicate_acks_due;
    }
  }
  return true;
}

// SYN, or SYN and ACK of a simultaneous open.
bool core::output_syn(connection& c, instant now) noexcept {
  if (c.st == state::closed) {
    return true;
  }
  if (c.snd_nxt != c.iss && c.trouble.due == resend::nothing) {
    return c.st == state::syn_sent || output_acks(c, now);
  }
  if (!_ip.ready()) {
    return false;
  }
  c.trouble.due = resend::nothing;
  if (_replies.size() < replies_max) {
    tcp_options options;
    options.mss = uint16_t(c.way.mtu - ip_header_length - tcp_header_min);
    const bool both = c.st == state::syn_received;
    options.window_scale = both && c.snd_scale == 0 && c.rcv_scale == 0 ? -1 : int8_t(c.rcv_scale);
    const auto window = uint16_t(std::min(c.receive_limit, window_unscaled_max));
    reply(c.key, c.iss, both ? c.rcv_nxt : seq(), both ? tcp_syn | tcp_ack : tcp_syn, window, &options);
    ++c.counters.segments_sent;
    if (both) {
      ack_sent(c);
    }
    flush_replies(now);
  }
  c.timing = c.snd_max == c.iss;
  c.timed_at = now;
  c.timed_end = c.iss + 1;
  c.snd_nxt = c.iss + 1;
  c.snd_max = later(c.snd_max, c.snd_nxt);
  arm(c, timer::retransmit, now + c.rtt.rto(_config));
  return true;
}

bool core::flush_replies(instant now) noexcept {
  while (packet* front = _replies.front()) {
    if (!_ip.ready()) {
      return false;
    }
    const auto [from, to] = front->note.get<reply_addresses>();
    _ip.send(from, to, _replies.pop_front(), now);
  }
  return true;
}

}  // namespace solaster::net::tcp

// What an acknowledgment does: it frees sent data, opens the windows, and tells of losses.
// Spec: RFC 9293 3.10.7.4 step 5; RFC 5681; RFC 6582; RFC 6298 5.
#include <algorithm>

#include "net/tcp/core.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

// RFC 9293 3.10.7.4: only a segment newer than the last one that did may set the window.
void core::update_window(connection& c, seq begin, const incoming& s) noexcept {
  if (c.snd_wl1 > begin || (c.snd_wl1 == begin && c.snd_wl2 > s.ack)) {
    return;
  }
  const uint32_t window = uint32_t(s.window) << c.snd_scale;
  c.snd_wl1 = begin;
  c.snd_wl2 = s.ack;
  if (window != c.snd_wnd) {
    c.snd_wnd = window;
    if (window > c.snd_wnd_max) {
      c.snd_wnd_max = window;
    }
    if (c.send_bytes > c.flight()) {
      want_output(c);
    }
  }
  if (c.trouble.persisting) [[unlikely]] {
    // RFC 9293 3.8.6.1: a peer that answers may keep its window closed for as long as it likes.
    c.trouble.retries = 0;
    c.trouble.soft_error = 0;
  }
}

// Something new was acknowledged. Probes have backed off without a loss: what follows them starts afresh.
void core::end_setback(connection& c) noexcept {
  if (c.trouble.persisting) {
    c.rtt.clear_backoff();
  }
  c.trouble = {};
}

// snd_una < ack <= snd_max.
void core::acknowledged(connection& c, seq ack, instant now) noexcept {
  const uint32_t bytes = uint32_t(ack - c.snd_una);
  const uint32_t before = c.outstanding();
  if (c.timing && ack >= c.timed_end) {
    c.rtt.sample(now - c.timed_at, _config);
    c.timing = false;
  }
  if (c.trouble.any()) [[unlikely]] {
    end_setback(c);
  }

  const uint32_t data = std::min(bytes, c.send_bytes);
  release_sent(c, data);
  c.snd_una = ack;
  if (c.snd_nxt < ack) {
    c.snd_nxt = ack;
    c.nxt_index = c.send_queue.head();
    c.nxt_offset = 0;
  }
  if (c.snd_sml < ack) {
    c.snd_sml = ack;
  }
  if (ack == c.snd_max) {
    disarm(c, timer::retransmit);
  } else if (!c.recovery.active) {
    arm(c, timer::retransmit, now + c.rtt.rto(_config));
  }

  if (c.recovery.active) [[unlikely]] {
    acknowledged_in_recovery(c, ack, bytes, now);
  } else {
    c.recovery.duplicate_acks = 0;
    // RFC 7661's point: a window that is not used does not grow.
    const uint32_t cwnd = c.congestion.cwnd();
    const uint32_t used = cwnd < c.congestion.ssthresh() ? before * 2 : before + c.mss;
    if (used >= cwnd) {
      c.congestion.acknowledged(bytes, c.mss, c.recovery.after_timeout);
    }
    if (c.recovery.after_timeout && ack >= c.recovery.recover) {
      c.recovery.after_timeout = false;
    }
  }

  if (c.send_bytes > c.flight() || (c.fin_queued && c.send_bytes == c.flight())) {
    want_output(c);
  }
  if (c.writable_wanted && c.send_bytes <= c.send_limit / 2) {
    c.writable_wanted = false;
    post(c, connection_writable);
  }
  if (bytes > data) [[unlikely]] {
    fin_acknowledged(c, now);
  }
  if (c.sent_watched) [[unlikely]] {
    tell_sent(c);
  }
}

// RFC 6582 3.2 step 3.
void core::acknowledged_in_recovery(connection& c, seq ack, uint32_t bytes, instant now) noexcept {
  recovery_state& r = c.recovery;
  if (ack >= r.recover) {
    c.congestion.leave_recovery(c.outstanding(), c.mss);
    r.active = false;
    r.duplicate_acks = 0;
    if (ack != c.snd_max) {
      arm(c, timer::retransmit, now + c.rtt.rto(_config));
    }
    return;
  }
  // A partial ACK: the next segment is lost too.
  c.congestion.partial(bytes, c.mss);
  c.trouble.due = resend::front;
  c.timing = false;
  if (!r.partial_seen) {
    r.partial_seen = true;
    arm(c, timer::retransmit, now + c.rtt.rto(_config));
  }
  want_output(c);
}

void core::duplicate_ack(connection& c, instant now) noexcept {
  recovery_state& r = c.recovery;
  ++r.duplicate_acks;
  want_output(c);
  if (r.active) {
    c.congestion.inflate(c.mss);
    return;
  }
  if (r.duplicate_acks != recovery_state::duplicate_threshold) {
    return;
  }
  // RFC 6582 3.2 step 2: duplicates of what was resent after a timeout are no sign of a loss.
  if (r.has_recover && (c.snd_una < r.recover || (c.snd_una == r.recover && r.recover_by_timeout))) {
    return;
  }
  r.active = true;
  r.partial_seen = false;
  r.has_recover = true;
  r.recover_by_timeout = false;
  r.recover = c.snd_max;
  c.congestion.enter_recovery(c.outstanding(), c.mss);
  c.trouble.due = resend::front;
  c.timing = false;
  arm(c, timer::retransmit, now + c.rtt.rto(_config));
}

// Lets go of acknowledged bytes at the front of the send queue.
void core::release_sent(connection& c, uint32_t bytes) noexcept {
  c.send_bytes -= bytes;
  uint64_t freed = bytes;
  while (bytes) {
    fragment& front = c.send_queue.front();
    const uint32_t size = front.size();
    const bool here = c.nxt_index == c.send_queue.head();
    if (size > bytes) {
      front.trim_front(bytes);
      if (here) {
        c.nxt_offset = c.nxt_offset > bytes ? c.nxt_offset - bytes : 0;
      }
      break;
    }
    c.send_queue.pop().reset();
    freed += send_fragment_overhead;
    if (here) {
      ++c.nxt_index;
      c.nxt_offset = 0;
    }
    bytes -= size;
  }
  _send_memory -= freed;
  c.send_queue.shrink(_memory);
}

bool core::fin_acknowledged(connection& c, instant now) noexcept {
  switch (c.st) {
    case state::fin_wait_1:
      c.st = state::fin_wait_2;
      if (!c.held) {
        arm(c, timer::linger, now + _config.fin_wait2);
      }
      return true;
    case state::closing:
      enter_time_wait(c, now);
      return false;
    case state::last_ack:
      become_closed(c);
      post(c, connection_closed);
      return false;
    default:
      return true;
  }
}

}  // namespace solaster::net::tcp

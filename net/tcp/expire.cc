// What happens when a deadline strikes.
// Spec: RFC 6298 5.4 to 5.7; RFC 5681 3.1 (a timeout); RFC 9293 3.8.3, 3.8.4, 3.8.6.
#include <algorithm>

#include "net/tcp/core.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

instant core::next_deadline() const noexcept {
  instant next = _timers.next();
  if (_half_opens.live()) [[unlikely]] {
    for (const auto& list : _half_open_levels) {
      if (const half_open* h = list.front()) {
        next = std::min(next, h->deadline);
      }
    }
  }
  if (const time_wait* t = _time_wait_list.front()) {
    next = std::min(next, t->deadline);
  }
  return next;
}

void core::expire(instant now) noexcept {
  if (_half_opens.live()) [[unlikely]] {
    expire_half_open(now);
  }
  expire_time_wait(now);
  while (_timers.next() <= now) {
    connection& c = *_timers.top();
    expire_connection(c, now);
    if (c.heap_index == connection::not_in_heap) {
      continue;
    }
    const instant next = *std::min_element(std::begin(c.deadlines), std::end(c.deadlines));
    if (next == instant::never()) {
      _timers.remove(c);
    } else {
      _timers.set(c, next);
    }
  }
  reap();
}

void core::expire_connection(connection& c, instant now) noexcept {
  const auto struck = [&](timer t) {
    if (c.deadline(t) > now) {
      return false;
    }
    disarm(c, t);
    return true;
  };
  if (struck(timer::delayed_ack)) {
    c.ack_now = true;
    want_output(c);
  }
  if (struck(timer::linger)) {
    // RFC 9293 lets FIN-WAIT-2 last for ever; nobody waits for this one.
    become_closed(c);
    return;
  }
  if (struck(timer::retransmit)) {
    expire_retransmit(c, now);
    if (!c.in_table) {
      return;
    }
  }
  if (struck(timer::keepalive)) {
    expire_keepalive(c, now);
  }
}

void core::expire_retransmit(connection& c, instant now) noexcept {
  if (!synchronized(c.st)) {
    expire_syn(c, now);
    return;
  }
  const uint32_t retries_max =
      c.held || c.owner ? _config.data_retries_max : std::min(_config.data_retries_max, orphan_retries_max);
  if (++c.trouble.retries > retries_max) {
    give_up(c);
    return;
  }
  c.timing = false;
  if (c.trouble.persisting || c.snd_wnd == 0) {
    expire_persist(c, now);
    return;
  }
  recovery_state& r = c.recovery;
  c.congestion.timeout(c.outstanding(), c.mss, c.trouble.retries == 1);
  r.active = false;
  r.duplicate_acks = 0;
  r.has_recover = true;
  r.recover_by_timeout = true;
  r.after_timeout = true;
  r.recover = c.snd_max;
  c.rtt.back_off();
  rewind(c);
  // Sending sets the timer; this is for the case that the device is full until then.
  arm(c, timer::retransmit, now + c.rtt.rto(_config));
  want_output(c);
}

// RFC 9293 3.8.6.1: probes of a closed window back off like retransmissions, and never end while the peer answers.
void core::expire_persist(connection& c, instant now) noexcept {
  // Orphans may not hold on to a peer that keeps its window closed (its answers reset the retries).
  if (!c.held && !c.owner && ++c.orphan_probes > orphan_retries_max) {
    give_up(c);
    return;
  }
  rewind(c);
  c.trouble.persisting = true;
  c.trouble.due = resend::probe;
  c.rtt.back_off();
  arm(c, timer::retransmit, now + std::min(c.rtt.rto(_config), _config.persist_max));
  want_output(c);
}

void core::expire_syn(connection& c, instant now) noexcept {
  if (++c.trouble.retries > _config.syn_retries_max) {
    give_up(c);
    return;
  }
  c.rtt.back_off();
  c.timing = false;
  c.snd_nxt = c.iss;
  arm(c, timer::retransmit, now + c.rtt.rto(_config));
  want_output(c);
}

void core::expire_keepalive(connection& c, instant now) noexcept {
  if (!c.options.keepalive) {
    return;
  }
  if (c.counters.segments_received != c.keepalive_seen) {
    c.keepalive_sent = 0;
  }
  if (now - c.last_received < c.options.keepalive_idle) {
    arm(c, timer::keepalive, c.last_received + c.options.keepalive_idle);
    return;
  }
  if (c.keepalive_sent >= c.options.keepalive_probes) {
    reply_reset(c);
    give_up(c);
    return;
  }
  ++c.keepalive_sent;
  c.keepalive_seen = c.counters.segments_received;
  // An old number: the peer must answer (RFC 9293 3.8.4).
  reply_ack(c, c.snd_una - 1);
  arm(c, timer::keepalive, now + c.options.keepalive_interval);
}

// What the network said while nobody answered tells more than that nobody answered (RFC 1122 4.2.3.9).
void core::give_up(connection& c) noexcept {
  fail(c, c.trouble.soft_error ? errc(c.trouble.soft_error) : errc::timedout);
}

// Everything not acknowledged is sent again, from the front.
void core::rewind(connection& c) noexcept {
  c.snd_nxt = c.snd_una;
  c.nxt_index = c.send_queue.head();
  c.nxt_offset = 0;
  c.trouble.due = resend::nothing;
}

}  // namespace solaster::net::tcp

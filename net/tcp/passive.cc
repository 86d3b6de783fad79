// LISTEN, the half-open connections that come of it, and TIME-WAIT: the states that a stranger can make us hold, in
// objects as small as they can be and bounded in number.
//
// Full of half-open connections, the one that has been asked most often goes: the peer has had its chances (RFC 4987).
// Spec: RFC 9293 3.10.7.2, 3.10.7.4 (SYN-RECEIVED, TIME-WAIT); RFC 1122 4.2.2.13 (a SYN in TIME-WAIT).
#include <algorithm>

#include "net/tcp/core.hh"
#include "net/tcp/isn.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

// RFC 9293 3.10.7.2.
void core::input_listen(listener& l, incoming& s, instant now) noexcept {
  if (s.has(tcp_rst)) {
    return;
  }
  if (s.has(tcp_ack)) {
    reply(s.key, s.ack, seq(), tcp_rst, 0);
    return;
  }
  if (!s.has(tcp_syn)) {
    return;
  }
  if (s.has(tcp_fin)) {
    // A beginning that is an end: nobody's TCP sends it.
    stats.drop(drop_reason::tcp_malformed);
    return;
  }
  answer_syn(l, s, initial_sequence(_isn_key, s.key, now), now);
}

// Data on the SYN is not kept: the peer sends it again.
void core::answer_syn(listener& l, incoming& s, seq iss, instant now) noexcept {
  if (l.waiting >= l.backlog) {
    stats.drop(drop_reason::tcp_backlog);
    return;
  }
  const result<path> way = _ip.find_path(s.key.remote(), s.key.local());
  if (!way) {
    return;
  }
  if (_half_opens.live() >= _config.syn_backlog_max) {
    stats.drop(drop_reason::tcp_backlog);
    for (uint32_t level = half_open_levels; level-- > 0;) {
      if (half_open* oldest = _half_open_levels[level].front()) {
        destroy(*oldest);
        break;
      }
    }
  }
  half_open* h = _half_opens.make(s.key);
  if (!h) {
    stats.drop(drop_reason::tcp_memory);
    return;
  }
  h->owner = &l;
  h->irs = s.begin;
  h->iss = iss;
  h->mtu = way->mtu;
  h->peer_mss = s.mss;
  h->snd_scale = int8_t(std::min<int>(s.scale, tcp_window_scale_max));
  h->rcv_scale = scale_for(receive_limit(l));
  h->sent = now;
  h->deadline = now + _config.rto_initial;
  _half_open_levels[0].push_back(h);
  _flows.insert(h);
  send_syn_ack(*h);
}

void core::send_syn_ack(half_open& h) noexcept {
  tcp_options options;
  options.mss = uint16_t(h.mtu - ip_header_length - tcp_header_min);
  if (h.snd_scale >= 0) {
    options.window_scale = int8_t(h.rcv_scale);
  }
  const auto window = uint16_t(std::min(receive_limit(*h.owner), window_unscaled_max));
  reply(h.key, h.iss, h.irs + 1, tcp_syn | tcp_ack, window, &options);
}

void core::challenge(half_open& h, instant now) noexcept {
  if (challenge_allowed(h, now)) {
    const auto window = uint16_t(std::min(receive_limit(*h.owner), window_unscaled_max));
    reply(h.key, h.iss + 1, h.irs + 1, tcp_ack, window);
  }
}

// RFC 9293 3.10.7.4 for SYN-RECEIVED after a passive open.
void core::input_half_open(half_open& h, incoming& s, instant now) noexcept {
  const seq rcv_nxt = h.irs + 1;
  const seq right = rcv_nxt + std::min(receive_limit(*h.owner), window_unscaled_max);
  if (s.begin == h.irs && (s.flags & (tcp_syn | tcp_ack | tcp_rst | tcp_fin)) == tcp_syn) {
    // The SYN again: our answer was lost, or is on its way.
    h.asked_again = true;
    send_syn_ack(h);
    return;
  }
  if (s.has(tcp_rst)) {
    if (s.begin == rcv_nxt) {
      destroy(h);
    } else if (s.begin > rcv_nxt && s.begin < right) {
      challenge(h, now);
    } else {
      stats.drop(drop_reason::tcp_out_of_window);
    }
    return;
  }
  if (s.begin < rcv_nxt || s.begin > right) {
    stats.drop(drop_reason::tcp_out_of_window);
    challenge(h, now);
    return;
  }
  if (s.has(tcp_syn)) {
    challenge(h, now);  // RFC 5961 4.2
    return;
  }
  if (!s.has(tcp_ack)) {
    return;
  }
  if (s.ack != h.iss + 1) {
    reply(h.key, s.ack, seq(), tcp_rst, 0);
    return;
  }
  promote(h, s, now);
}

// The handshake is complete: the half-open connection becomes a whole one and waits for accept(). Without room it stays
// as it is, and the peer's next segment tries again.
void core::promote(half_open& h, incoming& s, instant now) noexcept {
  listener& l = *h.owner;
  if (l.waiting >= l.backlog) {
    stats.drop(drop_reason::tcp_backlog);
    return;
  }
  const result<path> way = _ip.find_path(h.key.remote(), h.key.local());
  const result<connection*> made = way ? make_connection(h.key, *way) : way.error();
  if (!made) {
    stats.drop(drop_reason::tcp_memory);
    return;
  }
  connection* c = *made;
  adopt(*c, l.options);
  c->rcv_scale = h.rcv_scale;
  c->irs = h.irs;
  c->rcv_nxt = h.irs + 1;
  c->rcv_acked = c->rcv_nxt;
  c->iss = h.iss;
  c->snd_una = c->snd_nxt = c->snd_max = h.iss + 1;
  adopt_syn(*c, h.peer_mss, h.snd_scale);
  c->rcv_adv = c->rcv_nxt + std::min(c->receive_limit, window_unscaled_max);
  c->snd_wnd = uint32_t(s.window) << c->snd_scale;
  c->snd_wnd_max = c->snd_wnd;
  c->snd_wl1 = s.begin;
  c->snd_wl2 = s.ack;
  const bool syn_lost = h.retries != 0 || h.asked_again;
  if (!syn_lost) {
    c->rtt.sample(now - h.sent, _config);
  }
  destroy(h);
  _flows.insert(c);
  establish(*c, syn_lost, now);
  c->owner = &l;
  l.queue.push_back(c);
  ++l.waiting;
  ++stats.tcp_connections_accepted;
  _events.post(l.source, 1);
  if (s.span()) {
    input_connection(*c, s, now);
  }
}

void core::destroy(half_open& h) noexcept {
  _half_open_levels[h.retries].remove(&h);
  _flows.remove(&h);
  _half_opens.destroy(&h);
}

// Each list holds those of one retry count, which wait equally long: ordered by deadline.
void core::expire_half_open(instant now) noexcept {
  const uint32_t retries_max = std::min(_config.synack_retries_max, half_open_levels - 1);
  for (uint32_t level = half_open_levels; level-- > 0;) {
    auto& list = _half_open_levels[level];
    while (half_open* h = list.front()) {
      if (h->deadline > now) {
        break;
      }
      if (level >= retries_max) {
        destroy(*h);
        continue;
      }
      list.remove(h);
      h->retries = uint8_t(level + 1);
      h->deadline = now + _config.rto_initial * (int64_t(1) << (level + 1));
      _half_open_levels[level + 1].push_back(h);
      send_syn_ack(*h);
    }
  }
}

// The connection's place in the table goes to a small entry; the handle lives on until the host lets go.
void core::enter_time_wait(connection& c, instant now) noexcept {
  if (c.ack_now || c.ack_pending) {
    reply_ack(c, c.snd_max);
    c.counters.segments_sent++;
  }
  const flow_key key = c.key;
  const seq snd_nxt = c.snd_max;
  const seq rcv_nxt = c.rcv_nxt;
  const seq rcv_end = c.rcv_end();
  const uint32_t field = uint32_t(rcv_end - rcv_nxt) >> c.rcv_scale;
  become_closed(c);
  post(c, connection_closed);
  if (_config.time_wait_max == 0) {
    return;
  }
  if (_time_waits.live() >= _config.time_wait_max) {
    destroy(*_time_wait_list.front());
  }
  // Without memory there is no TIME-WAIT: a late FIN gets a reset.
  if (time_wait* t = _time_waits.make(key)) {
    t->snd_nxt = snd_nxt;
    t->rcv_nxt = rcv_nxt;
    t->rcv_end = rcv_end;
    t->window = uint16_t(std::min(field, window_unscaled_max));
    t->deadline = now + _config.time_wait;
    _time_wait_list.push_back(t);
    _flows.insert(t);
  }
}

// RFC 9293 3.10.7.4, TIME-WAIT: only the peer's FIN may come again; RFC 1122 4.2.2.13: or a new beginning.
void core::input_time_wait(time_wait& t, incoming& s, instant now) noexcept {
  if (s.has(tcp_rst)) {
    if (s.begin == t.rcv_nxt) {
      destroy(t);
    }
    return;
  }
  if ((s.flags & (tcp_syn | tcp_ack | tcp_fin)) == tcp_syn && s.begin > t.rcv_nxt) {
    if (listener* l = find_listener(s.key.local(), s.key.local_port())) {
      // A new incarnation, with numbers beyond the old one's.
      const seq beyond = t.snd_nxt + (window_unscaled_max + 2);
      const seq iss = later(initial_sequence(_isn_key, s.key, now), beyond);
      destroy(t);
      answer_syn(*l, s, iss, now);
      return;
    }
  }
  if (s.has(tcp_fin) && s.end() == t.rcv_nxt) {
    // Our last ACK was lost: 2 MSL begin again.
    t.deadline = now + _config.time_wait;
    _time_wait_list.remove(&t);
    _time_wait_list.push_back(&t);
  }
  // What is acceptable and carries nothing needs no word. All else does, be it as empty as a keep-alive.
  const bool quiet = s.span() == 0 && s.begin >= t.rcv_nxt && s.begin <= t.rcv_end;
  if (!quiet && challenge_allowed(t, now)) {
    reply(t.key, t.snd_nxt, t.rcv_nxt, tcp_ack, t.window);
  }
}

void core::destroy(time_wait& t) noexcept {
  _time_wait_list.remove(&t);
  _flows.remove(&t);
  _time_waits.destroy(&t);
}

void core::expire_time_wait(instant now) noexcept {
  while (time_wait* t = _time_wait_list.front()) {
    if (t->deadline > now) {
      return;
    }
    destroy(*t);
  }
}

}  // namespace solaster::net::tcp

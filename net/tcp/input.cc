// A segment comes in: RFC 9293 3.10.7, one function for each of its steps.
#include <algorithm>

#include "net/tcp/core.hh"
#include "net/tcp/isn.hh"
#include "net/tcp/limits.hh"
#include "net/wire/checksum.hh"

namespace solaster::net::tcp {

namespace {
constexpr uint8_t protocol_tcp = 6;
}

void core::input(const segment_info& info, packet_ptr p, instant now) noexcept {
  tcp_view view;
  if (!view.read(p->front().data(), p->front().size())) {
    stats.drop(drop_reason::tcp_malformed);
    return;
  }
  if (info.checksum == checksum_state::none) {
    const uint64_t pseudo = pseudo_header_sum(info.source, info.destination, protocol_tcp, p->size());
    if (!checksum_good(checksum_packet(*p, 0, p->size(), pseudo))) {
      stats.drop(drop_reason::tcp_checksum);
      return;
    }
  }
  incoming s;
  s.key = flow_key::of(info.destination, view.destination_port(), info.source, view.source_port());
  s.begin = seq(view.seq());
  s.ack = seq(view.ack());
  s.flags = view.flags();
  s.window = view.window();
  if (s.has(tcp_syn)) [[unlikely]] {
    s.keep_options(view);
  }
  p->trim_front(view.header_length());
  s.length = p->size();
  s.payload = std::move(p);

  if (flow* f = _flows.find(s.key)) [[likely]] {
    switch (f->kind) {
      case flow_kind::connection:
        input_connection(static_cast<connection&>(*f), s, now);
        break;
      case flow_kind::half_open:
        input_half_open(static_cast<half_open&>(*f), s, now);
        break;
      case flow_kind::time_wait:
        input_time_wait(static_cast<time_wait&>(*f), s, now);
        break;
    }
  } else if (listener* l = find_listener(s.key.local(), s.key.local_port())) {
    input_listen(*l, s, now);
  } else {
    stats.drop(drop_reason::tcp_no_connection);
    input_closed(s);
  }
  reap();
}

void core::input_connection(connection& c, incoming& s, instant now) noexcept {
  c.last_received = now;
  ++c.counters.segments_received;
  if (predicted(c, s)) [[likely]] {
    update_window(c, s);
    if (s.ack != c.snd_una) {
      acknowledged(c, s.ack, now);
    }
    if (s.length) {
      accept_in_order(c, std::move(s.payload), s.length, now);
    }
    return;
  }
  if (c.st == state::syn_sent) {
    input_syn_sent(c, s, now);
  } else {
    input_steps(c, s, now);
  }
}

// Header prediction: the next data in order, or an acknowledgment of something new, and nothing else going on.
bool core::predicted(const connection& c, const incoming& s) const noexcept {
  constexpr uint8_t ignored = tcp_psh | tcp_urg | tcp_ece | tcp_cwr;
  return c.st == state::established && uint8_t(s.flags & ~ignored) == tcp_ack && s.begin == c.rcv_nxt &&
         s.ack <= c.snd_max && (s.length ? s.ack >= c.snd_una : s.ack > c.snd_una) &&
         s.length <= uint32_t(c.rcv_adv - c.rcv_nxt) && c.out_of_order.empty() && !c.recovery.active &&
         !c.receive_closed;
}

// RFC 9293 3.10.7.4, in its order. A step that says false has ended the segment.
void core::input_steps(connection& c, incoming& s, instant now) noexcept {
  if (c.st == state::syn_received && s.begin == c.irs && (s.flags & (tcp_syn | tcp_ack | tcp_rst)) == tcp_syn) {
    // The peer's SYN again, of a simultaneous open: our answer was lost, and an ACK alone would not help it.
    c.retransmit_due = true;
    want_output(c);
    return;
  }
  if (!check_sequence(c, s, now)) {
    return;
  }
  if (!check_reset(c, s, now)) {
    return;
  }
  // Third: security and compartment, which nobody uses.
  if (!check_syn(c, s, now)) {
    return;
  }
  if (!check_ack(c, s, now)) {
    return;
  }
  // Sixth: urgent data is ordinary data (RFC 6093).
  process_text(c, s, now);
}

// First: is any of it in the window? What lies outside is cut off.
bool core::check_sequence(connection& c, incoming& s, instant now) noexcept {
  const uint32_t window = c.rcv_adv > c.rcv_nxt ? uint32_t(c.rcv_adv - c.rcv_nxt) : 0;
  const seq right = c.rcv_nxt + window;
  bool acceptable;
  if (s.span() == 0) {
    // At the right edge too: a peer that has filled our window acknowledges with that number.
    acceptable = s.begin >= c.rcv_nxt && s.begin <= right;
  } else {
    acceptable = s.end() > c.rcv_nxt && s.begin < right;
  }
  // "If the RCV.WND is zero, no segments will be acceptable, but special allowance should be made to accept valid ACKs,
  // URGs, and RSTs": text at rcv_nxt is cut off below, the rest is looked at.
  const bool probe = window == 0 && s.begin == c.rcv_nxt;
  if (!acceptable && !probe) {
    stats.drop(drop_reason::tcp_out_of_window);
    if (s.has(tcp_rst)) {
      return false;
    }
    if (s.span()) {
      if (s.length && s.end() <= c.rcv_nxt) {
        ++c.counters.duplicates;
      }
      c.ack_now = true;
      want_output(c);
    } else {
      challenge(c, now);
    }
    return false;
  }
  if (s.begin < c.rcv_nxt) {
    uint32_t skip = uint32_t(c.rcv_nxt - s.begin);
    if (s.has(tcp_syn)) {
      // Its own sequence number is behind us.
      s.flags &= uint8_t(~tcp_syn);
      s.begin += 1;
      --skip;
    }
    s.payload->trim_front(std::min(skip, s.length));
    s.length -= std::min(skip, s.length);
    s.begin = c.rcv_nxt;
    ++c.counters.duplicates;
  }
  // A FIN needs no room: only text beyond the window is cut off, and what follows it.
  if (s.begin + s.length > right) {
    const uint32_t room = s.begin < right ? uint32_t(right - s.begin) : 0;
    s.flags &= uint8_t(~tcp_fin);
    s.payload->truncate(room);
    s.length = room;
    c.ack_now = true;
    want_output(c);
  }
  return true;
}

// Second: RST, believed only at the exact number (RFC 5961 3.2).
bool core::check_reset(connection& c, const incoming& s, instant now) noexcept {
  if (!s.has(tcp_rst)) {
    return true;
  }
  if (s.begin != c.rcv_nxt) {
    challenge(c, now);
    return false;
  }
  switch (c.st) {
    case state::syn_received:
      fail(c, errc::connrefused);
      break;
    case state::closing:
    case state::last_ack:
      // Both sides have said all they had to.
      become_closed(c);
      post(c, connection_closed);
      break;
    default:
      fail(c, errc::connreset);
      break;
  }
  return false;
}

// Fourth: a SYN in a synchronized state (RFC 5961 4.2).
bool core::check_syn(connection& c, const incoming& s, instant now) noexcept {
  if (!s.has(tcp_syn)) {
    return true;
  }
  challenge(c, now);
  return false;
}

// Fifth: the ACK field.
bool core::check_ack(connection& c, incoming& s, instant now) noexcept {
  if (!s.has(tcp_ack)) {
    return false;
  }
  if (c.st == state::syn_received) {
    if (s.ack <= c.snd_una || s.ack > c.snd_max) {
      reply(c.key, s.ack, seq(), tcp_rst, 0);
      return false;
    }
    c.snd_una = c.iss + 1;
    c.snd_wl1 = s.begin;
    c.snd_wl2 = s.ack;
    c.snd_wnd = uint32_t(s.window) << c.snd_scale;
    c.snd_wnd_max = std::max(c.snd_wnd_max, c.snd_wnd);
    establish(c, now);
  }
  if (s.ack > c.snd_max || s.ack < c.snd_una - c.snd_wnd_max) {
    challenge(c, now);
    return false;
  }
  // RFC 5681 2, definition of a duplicate ACK. A probe of a closed window is answered by what looks like one.
  const bool duplicate = s.ack == c.snd_una && s.length == 0 && !s.has(tcp_fin) && c.snd_una != c.snd_max &&
                         uint32_t(s.window) << c.snd_scale == c.snd_wnd && !c.persisting;
  if (s.ack >= c.snd_una) {
    update_window(c, s);
  }
  if (duplicate) {
    duplicate_ack(c, now);
  } else if (s.ack > c.snd_una) {
    acknowledged(c, s.ack, now);
  }
  return c.in_table;
}

// RFC 9293 3.10.7.3.
void core::input_syn_sent(connection& c, incoming& s, instant now) noexcept {
  const bool ack_good = s.has(tcp_ack) && s.ack > c.iss && s.ack <= c.snd_max;
  if (s.has(tcp_ack) && !ack_good) {
    if (!s.has(tcp_rst)) {
      reply(c.key, s.ack, seq(), tcp_rst, 0);
    }
    return;
  }
  if (s.has(tcp_rst)) {
    if (ack_good) {
      fail(c, errc::connrefused);
    }
    return;
  }
  if (!s.has(tcp_syn)) {
    return;
  }
  c.irs = s.begin;
  c.rcv_nxt = s.begin + 1;
  c.rcv_acked = s.begin;
  const tcp_options options = s.options();
  adopt_options(c, options.mss, options.window_scale);
  c.rcv_adv = c.rcv_nxt + std::min(c.receive_limit, window_unscaled_max);
  c.snd_wnd = s.window;
  c.snd_wnd_max = s.window;
  c.snd_wl1 = s.begin;
  c.snd_wl2 = s.ack;
  if (!ack_good) {
    // Simultaneous open: our SYN goes out again, with an ACK.
    c.st = state::syn_received;
    c.retransmit_due = true;
    c.timing = false;
    want_output(c);
    return;
  }
  if (c.timing) {
    c.rtt.sample(now - c.timed_at, _config);
    c.timing = false;
  }
  c.snd_una = c.iss + 1;
  establish(c, now);
  c.ack_now = true;
  want_output(c);
  s.flags &= uint8_t(~tcp_syn);
  s.begin += 1;
  if (s.span() && check_sequence(c, s, now)) {
    process_text(c, s, now);
  }
}

// RFC 9293 3.10.7.1: nobody is here.
void core::input_closed(const incoming& s) noexcept {
  if (s.has(tcp_rst)) {
    return;
  }
  if (s.has(tcp_ack)) {
    reply(s.key, s.ack, seq(), tcp_rst, 0);
  } else {
    reply(s.key, seq(0), s.end(), tcp_rst | tcp_ack, 0);
  }
}

// MSS and window scale of the peer's SYN. RFC 7323 2.2: scaling needs both sides' word; we always offer it.
void core::adopt_options(connection& c, uint16_t peer_mss, int8_t peer_scale) noexcept {
  const uint32_t ours = c.way.mtu - ip_header_length - tcp_header_min;
  const uint32_t theirs = peer_mss ? std::max<uint32_t>(peer_mss, mss_min) : tcp_mss_default;
  set_mss(c, std::min(ours, theirs));
  if (peer_scale >= 0) {
    c.snd_scale = uint8_t(std::min<int>(peer_scale, tcp_window_scale_max));
  } else {
    c.snd_scale = 0;
    c.rcv_scale = 0;
    c.receive_limit = std::min(c.receive_limit, window_unscaled_max);
  }
}

void core::establish(connection& c, instant now) noexcept {
  // A close() before this point has queued a FIN.
  c.st = c.fin_queued ? state::fin_wait_1 : state::established;
  c.was_established = true;
  c.snd_nxt = c.snd_una;
  c.snd_max = later(c.snd_max, c.snd_nxt);
  c.snd_sml = c.snd_una;
  c.nxt_index = c.send_queue.head();
  c.nxt_offset = 0;
  c.retries = 0;
  c.retransmit_due = false;
  c.rtt.clear_backoff();
  c.congestion.start(c.mss, _config.initial_window_segments);
  c.last_sent = now;
  c.last_received = now;
  disarm(c, timer::retransmit);
  if (c.keepalive) {
    arm(c, timer::keepalive, now + c.keepalive_idle);
  }
  post(c, connection_established | connection_writable);
  c.writable_wanted = false;
  want_output(c);
}

void core::challenge(connection& c, instant now) noexcept {
  if (!challenge_allowed(now)) {
    return;
  }
  c.ack_now = true;
  want_output(c);
}

bool core::challenge_allowed(instant now) noexcept {
  if (now - _challenge_epoch >= challenge_interval) {
    _challenge_epoch = now;
    _challenges = 0;
  }
  return _challenges++ < challenges_max;
}

// RFC 5927: believed only if it quotes something in flight.
void core::icmp_error(const four_tuple& tuple, seq quoted, errc error, bool hard, uint32_t mtu, instant now) noexcept {
  flow* f = _flows.find(flow_key::of(tuple));
  if (!f || f->kind != flow_kind::connection) {
    return;
  }
  auto& c = static_cast<connection&>(*f);
  if (quoted < c.snd_una || quoted >= c.snd_max) {
    return;
  }
  if (mtu) {
    const uint32_t believed = std::max(mtu, path_mtu_min);
    if (believed < c.way.mtu) {
      c.way.mtu = uint16_t(believed);
      set_mss(c, std::min<uint32_t>(c.mss, believed - ip_header_length - tcp_header_min));
      if (synchronized(c.st)) {
        rewind(c);
        c.timing = false;
        want_output(c);
      }
    }
  } else if (hard && !synchronized(c.st)) {
    // RFC 5461: only an open that has not succeeded is given up for a hint.
    fail(c, error);
  }
  (void)now;
  reap();
}

}  // namespace solaster::net::tcp

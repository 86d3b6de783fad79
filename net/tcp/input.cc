// A segment comes in: RFC 9293 3.10.7, one function for each of its steps.
#include <algorithm>
#include <array>
#include <cstring>

#include "net/tcp/core.hh"
#include "net/tcp/isn.hh"
#include "net/tcp/limits.hh"
#include "net/wire/checksum.hh"

namespace solaster::net::tcp {

namespace {
constexpr uint8_t protocol_tcp = 6;

// What we use of a SYN's options, copied first: parsing reads some bytes twice, and a device may still write to them.
[[gnu::noinline]] void read_syn_options(incoming& s, std::span<const std::byte> bytes) noexcept {
  std::array<std::byte, tcp_options_max> copy;
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  const tcp_options options = tcp_options::parse(copy.data(), uint32_t(bytes.size()));
  s.mss = options.mss;
  s.scale = options.window_scale;
}
}  // namespace

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
    read_syn_options(s, view.option_bytes());
  }
  p->trim_front(view.header_length());
  s.length = p->size();
  s.payload = std::move(p);

  if (flow* f = _flows.find(s.key)) [[likely]] {
    switch (f->kind) {
      case flow_kind::connection:
        input_connection(static_cast<connection&>(*f), s, now);
        DCHECK(!f->in_table || static_cast<connection&>(*f).is_valid());
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
    update_window(c, s.begin, s);
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
    c.trouble.due = resend::front;
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
  trim_to_window(c, s);
  process_text(c, s, now);
}

// First: is any of it in the window?
bool core::check_sequence(connection& c, const incoming& s, instant now) noexcept {
  const seq right = c.rcv_end();
  // At the right edge too, where nothing is carried: a peer that has filled our window acknowledges with that number.
  const bool acceptable =
      s.span() == 0 ? s.begin >= c.rcv_nxt && s.begin <= right : s.end() > c.rcv_nxt && s.begin < right;
  // "If the RCV.WND is zero, no segments will be acceptable, but special allowance should be made to accept valid ACKs,
  // URGs, and RSTs": text at rcv_nxt is cut off later, the rest is looked at.
  const bool probe = right == c.rcv_nxt && s.begin == c.rcv_nxt;
  if (acceptable || probe) {
    return true;
  }
  stats.drop(drop_reason::tcp_out_of_window);
  if (s.has(tcp_rst)) {
    return false;
  }
  if (s.has(tcp_syn) || s.span() == 0) {
    challenge(c, now);
    return false;
  }
  // Its sender has not heard of our last ACK.
  if (s.length && s.end() <= c.rcv_nxt) {
    ++c.counters.duplicates;
  }
  c.ack_now = true;
  want_output(c);
  return false;
}

// Before its text is taken, after everything else was: what lies outside the window is cut off.
void core::trim_to_window(connection& c, incoming& s) noexcept {
  if (s.begin < c.rcv_nxt) {
    const uint32_t skip = std::min(uint32_t(c.rcv_nxt - s.begin), s.length);
    s.payload->trim_front(skip);
    s.length -= skip;
    s.begin = c.rcv_nxt;
    ++c.counters.duplicates;
  }
  // A FIN needs no room: only text beyond the window is cut off, and what follows it.
  const seq right = c.rcv_end();
  if (s.begin + s.length > right) {
    const uint32_t room = s.begin < right ? uint32_t(right - s.begin) : 0;
    s.flags &= uint8_t(~tcp_fin);
    s.payload->truncate(room);
    s.length = room;
    c.ack_now = true;
    want_output(c);
  }
}

// Second: RST, believed only at the exact number; elsewhere in the window it is asked for again (RFC 5961 3.2).
bool core::check_reset(connection& c, const incoming& s, instant now) noexcept {
  if (!s.has(tcp_rst)) {
    return true;
  }
  if (s.begin != c.rcv_nxt) {
    if (s.begin > c.rcv_nxt && s.begin < c.rcv_end()) {
      challenge(c, now);
    } else {
      stats.drop(drop_reason::tcp_out_of_window);
    }
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
bool core::check_ack(connection& c, const incoming& s, instant now) noexcept {
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
    establish(c, c.trouble.retries != 0, now);
  }
  if (s.ack > c.snd_max || s.ack < c.snd_una - c.snd_wnd_max) {
    challenge(c, now);
    return false;
  }
  // RFC 5681 2, definition of a duplicate ACK. A probe of a closed window is answered by what looks like one.
  const bool duplicate = s.ack == c.snd_una && s.length == 0 && !s.has(tcp_fin) && c.snd_una != c.snd_max &&
                         uint32_t(s.window) << c.snd_scale == c.snd_wnd && !c.trouble.persisting;
  if (s.ack >= c.snd_una) {
    update_window(c, later(s.begin, c.rcv_nxt), s);
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
  // With both, it is no beginning and no end.
  if (!s.has(tcp_syn) || s.has(tcp_fin)) {
    return;
  }
  c.irs = s.begin;
  c.rcv_nxt = s.begin + 1;
  c.rcv_acked = s.begin;
  adopt_syn(c, s.mss, s.scale);
  c.rcv_adv = c.rcv_nxt + std::min(c.receive_limit, window_unscaled_max);
  c.snd_wnd = s.window;
  c.snd_wnd_max = s.window;
  c.snd_wl1 = s.begin;
  c.snd_wl2 = s.ack;
  if (!ack_good) {
    // Simultaneous open: our SYN goes out again, with an ACK.
    c.st = state::syn_received;
    c.trouble.due = resend::front;
    c.timing = false;
    want_output(c);
    return;
  }
  if (c.timing) {
    c.rtt.sample(now - c.timed_at, _config);
    c.timing = false;
  }
  c.snd_una = c.iss + 1;
  establish(c, c.trouble.retries != 0, now);
  c.ack_now = true;
  want_output(c);
  s.flags &= uint8_t(~tcp_syn);
  s.begin += 1;
  if (s.span() && check_sequence(c, s, now)) {
    trim_to_window(c, s);
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
void core::adopt_syn(connection& c, uint16_t peer_mss, int8_t peer_scale) noexcept {
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

void core::establish(connection& c, bool syn_lost, instant now) noexcept {
  // A close() before this point has queued a FIN.
  c.st = c.fin_queued ? state::fin_wait_1 : state::established;
  c.snd_nxt = c.snd_una;
  c.snd_max = later(c.snd_max, c.snd_nxt);
  c.snd_sml = c.snd_una;
  c.nxt_index = c.send_queue.head();
  c.nxt_offset = 0;
  c.trouble = {};
  c.congestion.start(c.mss, _config.initial_window_segments);
  if (syn_lost) {
    c.congestion.lost_syn(c.mss);
    c.rtt.lost_syn(rto_after_lost_syn);
  }
  c.last_sent = now;
  c.last_received = now;
  disarm(c, timer::retransmit);
  if (c.options.keepalive) {
    arm(c, timer::keepalive, now + c.options.keepalive_idle);
  }
  post(c, connection_established | connection_writable);
  c.writable_wanted = false;
  want_output(c);
}

void core::challenge(connection& c, instant now) noexcept {
  if (!challenge_allowed(c, now)) {
    return;
  }
  c.ack_now = true;
  want_output(c);
}

bool core::challenge_allowed(flow& f, instant now) noexcept {
  const auto epoch = uint32_t(now.ns / challenge_interval.ns);
  if (f.challenge_epoch != epoch) {
    f.challenge_epoch = epoch;
    f.challenges = 0;
  }
  if (f.challenges == challenges_max) {
    return false;
  }
  ++f.challenges;
  return true;
}

}  // namespace solaster::net::tcp

// One connection's state, with the fields grouped by who moves them.
//
// Names are RFC 9293's (3.3.1). The functions that work on it are core's, cut by concern over input.cc, output.cc, ...
// Units: bytes, unless a name says otherwise. Context: shard-local.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

#include "net/base/result.hh"
#include "net/host/event_queue.hh"
#include "net/packet/packet.hh"
#include "net/tcp/assembler.hh"
#include "net/tcp/flow.hh"
#include "net/tcp/fragment_queue.hh"
#include "net/tcp/layer.hh"
#include "net/tcp/limits.hh"
#include "net/tcp/recovery.hh"
#include "net/tcp/reno.hh"
#include "net/tcp/rtt.hh"
#include "net/tcp/state.hh"
#include "net/tcp/timers.hh"

namespace solaster::net::tcp {

// What is to be sent again for the oldest segment.
enum class resend : uint8_t {
  nothing,
  front,  // the segment at snd_una
  probe,  // of a closed window
};

// What has gone wrong since the peer last acknowledged something new. All of it ends then, at once.
struct setback {
  uint8_t retries = 0;     // timeouts of the segment at snd_una in a row, or probes
  uint8_t soft_error = 0;  // an errc that did not end the connection; 0: none
  resend due = resend::nothing;
  bool persisting = false;  // timer::retransmit probes a closed window
  bool any() const noexcept { return std::bit_cast<uint32_t>(*this) != 0; }
};

class connection : public flow {
 public:
  static constexpr uint32_t not_in_heap = UINT32_MAX;

  connection(const flow_key& key_, const tcp_config& config) noexcept
      : flow(flow_kind::connection, key_),
        source(event_kind::connection, this),
        send_limit(config.send_buffer_bytes),
        rtt(config),
        receive_limit(config.receive_buffer_bytes) {}

  // --- the host's side
  event_source source;
  std::optional<errc> failure;  // why it failed; told once by connection_failed
  bool failure_taken = false;   // take_error() has told it
  listener* owner = nullptr;    // waits in its accept queue
  list_link<connection> accept_link;
  bool held = false;             // the host has the handle
  bool sent_watched = false;     // connection_sent is wanted
  bool writable_wanted = false;  // a send came back short
  bool receive_closed = false;   // what arrives is acknowledged and thrown away
  bool unread_lost = false;      // something was, while the host had the handle
  connection_options options;

  state st = state::closed;

  // --- sending. [snd_una, snd_una + send_bytes) is send_queue, once the SYN is acknowledged: removing n bytes from its
  // front is what an ACK of snd_una + n means. A FIN has the sequence number after the last byte.
  seq iss;
  seq snd_una;               // oldest unacknowledged
  seq snd_nxt;               // next to send; behind snd_max while resending after a timeout
  seq snd_max;               // next never sent
  uint32_t snd_wnd = 0;      // the peer's window, from snd_una
  uint32_t snd_wnd_max = 0;  // the largest ever
  seq snd_wl1, snd_wl2;      // sequence and ACK number of the segment that last set snd_wnd
  seq snd_sml;               // end of the last segment sent that was smaller than mss (Minshall's Nagle)
  uint32_t send_bytes = 0;   // in send_queue
  uint32_t send_limit;       // of send_charge()
  fragment_queue send_queue;
  uint32_t nxt_index = 0;    // where snd_nxt lies in send_queue: index of the fragment,
  uint32_t nxt_offset = 0;   // and offset in it
  uint16_t mss = 536;        // payload of a full segment: the smaller of ours and the peer's limit
  uint32_t segment_max = 0;  // payload of what the device cuts; mss where it does not
  uint8_t snd_scale = 0;
  bool fin_queued = false;    // close() was called: a FIN follows the data
  uint8_t orphan_probes = 0;  // of a closed window, since the host let go
  setback trouble;

  // --- congestion and time
  reno congestion;
  recovery_state recovery;
  rtt_estimator rtt;
  bool timing = false;  // a segment is being timed:
  seq timed_end;        // its end,
  instant timed_at;     // and when it was sent
  instant last_sent;    // data

  // --- receiving
  seq irs;
  seq rcv_nxt;
  seq rcv_adv;    // the highest right edge ever advertised; never moves back
  seq rcv_acked;  // the last acknowledgment number sent
  uint8_t rcv_scale = 0;
  bool fin_received = false;  // and everything before it
  bool ack_pending = false;   // something is to be acknowledged, on the next segment or when timer::delayed_ack strikes
  bool ack_now = false;       // at once
  uint16_t duplicate_acks_due = 0;  // segments out of order: each deserves its own ACK (RFC 5681 4.2)
  uint32_t receive_limit;
  fragment_queue receive_queue;
  uint32_t receive_bytes = 0;   // in receive_queue
  uint32_t receive_charge = 0;  // of receive_queue
  uint32_t taken_bytes = 0;     // handed to the application and not yet consumed
  uint32_t taken_charge = 0;
  assembler out_of_order;
  uint32_t out_of_order_counted = 0;  // its charge, as far as the layer's total knows it

  // --- timers
  instant deadlines[size_t(timer::count)] = {instant::never(), instant::never(), instant::never(), instant::never()};
  instant entry_at = instant::never();  // of the heap's entry: no later than the earliest of `deadlines`
  uint32_t heap_index = not_in_heap;
  instant last_received;
  uint32_t keepalive_sent = 0;  // probes since the peer last said something
  uint64_t keepalive_seen = 0;  // counters.segments_received at the last of them

  // --- output
  list_link<connection> output_link;  // something may have to be sent
  list_link<connection> all_link;
  path way;

  connection_counters counters;

  uint32_t flight() const noexcept { return uint32_t(snd_nxt - snd_una); }
  uint32_t outstanding() const noexcept { return uint32_t(snd_max - snd_una); }
  // What the host handed over, and what it takes to keep it.
  uint32_t send_charge() const noexcept { return send_bytes + send_queue.size() * send_fragment_overhead; }
  // The right edge of the window that we advertised; rcv_nxt when it is closed.
  seq rcv_end() const noexcept { return later(rcv_adv, rcv_nxt); }
  uint32_t receive_held() const noexcept { return receive_charge + taken_charge + out_of_order.charge(); }
  instant& deadline(timer t) noexcept { return deadlines[size_t(t)]; }
  bool fin_unacknowledged() const noexcept { return fin_queued && st != state::fin_wait_2; }
  bool at_eof() const noexcept { return (fin_received || receive_closed) && receive_bytes == 0; }
  bool is_valid() const noexcept;

 private:
  bool valid_memory() const noexcept;
  bool valid_closed() const noexcept;
  bool valid_open() const noexcept;
};

}  // namespace solaster::net::tcp

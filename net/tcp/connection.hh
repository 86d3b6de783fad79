// One connection's state, with the fields grouped by who moves them.
//
// Names are RFC 9293's (3.3.1). The functions that work on it are core's, cut by concern over input.cc, output.cc, ...
// Units: bytes, unless a name says otherwise. Context: shard-local.
#pragma once

#include <cstdint>
#include <optional>

#include "net/base/result.hh"
#include "net/host/event_queue.hh"
#include "net/packet/packet.hh"
#include "net/tcp/assembler.hh"
#include "net/tcp/flow.hh"
#include "net/tcp/fragment_queue.hh"
#include "net/tcp/layer.hh"
#include "net/tcp/recovery.hh"
#include "net/tcp/reno.hh"
#include "net/tcp/rtt.hh"
#include "net/tcp/state.hh"
#include "net/tcp/timers.hh"

namespace solaster::net::tcp {

class connection : public flow {
 public:
  static constexpr uint32_t not_in_heap = UINT32_MAX;

  connection(const flow_key& key_, const tcp_config& config) noexcept
      : flow(flow_kind::connection, key_), source(event_kind::connection, this), rtt(config) {}

  // --- the host's side
  event_source source;
  std::optional<errc> failure;  // why it failed; told once by connection_failed
  listener* owner = nullptr;    // waits in its accept queue
  list_link<connection> accept_link;
  bool held = false;             // the host has the handle
  bool sent_watched = false;     // connection_sent is wanted
  bool writable_wanted = false;  // a send came back short
  bool receive_closed = false;   // what arrives is acknowledged and thrown away
  bool nodelay = false;
  bool was_established = false;

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
  fragment_queue send_queue;
  uint32_t nxt_index = 0;    // where snd_nxt lies in send_queue: index of the fragment,
  uint32_t nxt_offset = 0;   // and offset in it
  uint16_t mss = 536;        // payload of a full segment: the smaller of ours and the peer's limit
  uint32_t segment_max = 0;  // payload of what the device cuts; mss where it does not
  uint8_t snd_scale = 0;
  bool fin_queued = false;      // close() was called: a FIN follows the data
  bool retransmit_due = false;  // the segment at snd_una is to be sent again
  bool persisting = false;      // timer::retransmit probes a closed window
  uint8_t retries = 0;          // timeouts of the segment at snd_una in a row
  uint8_t orphan_probes = 0;    // of a closed window, since the host let go

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
  uint32_t receive_limit = 0;
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
  duration keepalive_idle{}, keepalive_interval{};
  uint32_t keepalive_probes = 0;
  uint32_t keepalive_sent = 0;
  bool keepalive = false;

  // --- output
  list_link<connection> output_link;  // something may have to be sent
  list_link<connection> all_link;
  path way;

  connection_stats counters;

  uint32_t flight() const noexcept { return uint32_t(snd_nxt - snd_una); }
  uint32_t outstanding() const noexcept { return uint32_t(snd_max - snd_una); }
  uint32_t receive_held() const noexcept { return receive_charge + taken_charge + out_of_order.charge(); }
  instant& deadline(timer t) noexcept { return deadlines[size_t(t)]; }
  bool fin_unacknowledged() const noexcept { return fin_queued && st != state::fin_wait_2; }
  bool at_eof() const noexcept { return fin_received && receive_bytes == 0; }
  bool is_valid() const noexcept;
};

}  // namespace solaster::net::tcp

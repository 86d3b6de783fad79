// The door between the stack (IP below) and TCP: one `tcp::layer` per stack.
//
// TCP does not know interfaces, neighbours or routes: `ip_output` stands for them. The stack feeds segments whose IP
// header has been checked and removed; TCP asks for output when the stack polls it. See stack.hh for the order of
// calls.
//
// Spec: RFC 9293. Context: shard-local. Errors: result<T> with Linux error numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "net/base/result.hh"
#include "net/base/time.hh"
#include "net/ip/output.hh"
#include "net/packet/packet.hh"
#include "net/wire/address.hh"

namespace solaster::net::tcp {

class connection;
class listener;

using net::ip_output;
using net::path;

// About a segment that came in.
struct segment_info {
  ip_address source;
  ip_address destination;
  checksum_state checksum = checksum_state::none;
};

}  // namespace solaster::net::tcp

namespace solaster::net {
struct event;
struct tcp_config;
struct stack_config;
struct stack_stats;
class event_queue;
}  // namespace solaster::net

namespace solaster::net::tcp {

struct connection_stats {
  uint64_t bytes_sent = 0, bytes_received = 0;
  uint64_t segments_sent = 0, segments_received = 0, retransmitted = 0, out_of_order = 0, duplicates = 0;
  duration srtt{}, rto{};
  uint32_t cwnd = 0, ssthresh = 0, mss = 0;
};

// All TCP of one stack: demultiplexer, listeners, connections, timers.
//
// Handles: a `connection*` or `listener*` given out by connect(), listen(), accept() is the host's until release();
// events name it until then. release() of a connection that still has work to do (unsent data, FIN, TIME_WAIT) lets it
// finish on its own: it is close() without a reader.
class layer {
 public:
  // Counts into `stats`: the tcp_ drop reasons and the tcp_ totals. No memory: valid() is false, nothing else may be
  // called.
  layer(const stack_config& config, memory& m, ip_output& ip, event_queue& events, stack_stats& stats) noexcept;
  ~layer();
  layer(const layer&) = delete;
  bool valid() const noexcept { return _impl != nullptr; }

  // --- events in. The segment: IP header removed, trimmed to the IP length; nothing of TCP checked yet (where
  // info.checksum is none, the layer sums). Its first fragment holds the whole TCP header if the segment does.
  void input(const segment_info& info, packet_ptr segment, instant now) noexcept;
  // RFC 5927: a hint about a flow of ours (quoted header of an ICMP error). `mtu` for fragmentation needed.
  void icmp_error(const four_tuple& flow, uint32_t seq, errc error, bool hard, uint32_t mtu, instant now) noexcept;
  void expire(instant now) noexcept;

  // --- commands
  // mss etc. come from the path. addrnotavail, netunreach, nomem.
  result<connection*> connect(endpoint local, endpoint remote, void* cookie, instant now) noexcept;
  // local.address any: all. addrinuse.
  result<listener*> listen(endpoint local, uint32_t backlog, void* cookie, instant now) noexcept;
  // The next established connection; again: none waits.
  result<connection*> accept(listener* l, void* cookie) noexcept;
  void release(listener* l, instant now) noexcept;

  // Takes over data to send. Returns the bytes taken (whole fragments from the front of `data`, the last perhaps
  // split); what was not taken stays in `data`. again: buffer full, a writable event follows. pipe: after close;
  // connreset etc.
  result<size_t> send(connection* c, std::span<fragment> data, instant now) noexcept;
  // Moves received bytes out, in order, at most `max_bytes` and out.size() fragments; returns the number of fragments.
  // 0 and at_eof(): the peer closed. The window stays closed over them until consume().
  result<size_t> receive(connection* c, std::span<fragment> out, size_t max_bytes) noexcept;
  // The application has let go of n bytes taken by receive(): the window may open.
  void consume(connection* c, size_t n, instant now) noexcept;
  // Sends FIN after the data (half-close); receiving goes on.
  void close(connection* c, instant now) noexcept;
  // No more receiving: what arrives afterwards is discarded (acknowledged).
  void close_receive(connection* c, instant now) noexcept;
  // Sends RST, forgets the data.
  void abort(connection* c, instant now) noexcept;
  void release(connection* c, instant now) noexcept;
  void set_nodelay(connection* c, bool on) noexcept;  // Nagle off; RFC 9293 3.7.4
  void set_keepalive(connection* c, bool on, duration idle, duration interval, uint32_t probes) noexcept;

  // --- questions
  four_tuple tuple(const connection* c) const noexcept;
  endpoint local(const listener* l) const noexcept;
  bool at_eof(const connection* c) const noexcept;  // FIN reached and all data taken
  size_t readable_bytes(const connection* c) const noexcept;
  size_t send_room(const connection* c) const noexcept;
  size_t unacknowledged_bytes(const connection* c) const noexcept;  // sent or queued, not yet acknowledged
  std::optional<errc> error(const connection* c) const noexcept;
  connection_stats stats(const connection* c) const noexcept;
  void set_cookie(connection* c, void* cookie) noexcept;
  // connection_sent is posted once, when all that was handed to send() is acknowledged: only for who asks.
  void watch_sent(connection* c) noexcept;
  size_t connection_count() const noexcept;
  bool is_valid() const noexcept;

  // --- effects out
  // Builds and sends segments while ip_output::ready().
  void transmit(instant now) noexcept;
  instant next_deadline() const noexcept;

 private:
  struct impl;
  void destroy() noexcept;
  impl* _impl;  // in memory of the host
};

}  // namespace solaster::net::tcp

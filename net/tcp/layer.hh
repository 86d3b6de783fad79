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
#include "net/tcp/state.hh"
#include "net/wire/address.hh"

namespace solaster::net::tcp {

class connection;
class listener;
class reservation;

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

struct connection_counters {
  uint64_t bytes_sent = 0, bytes_received = 0;
  uint64_t segments_sent = 0, segments_received = 0, retransmitted = 0, out_of_order = 0, duplicates = 0;
};

// A connection as it is at this moment: what Linux tells as TCP_INFO.
struct connection_stats : connection_counters {
  state st = state::closed;
  uint8_t snd_scale = 0, rcv_scale = 0;
  uint8_t retries = 0;               // timeouts in a row of the oldest segment, or probes of a closed window
  duration srtt{}, rttvar{}, rto{};  // srtt 0: no sample yet
  uint32_t cwnd = 0, ssthresh = 0;   // bytes
  uint32_t mss = 0, path_mtu = 0;
  uint32_t snd_wnd = 0, rcv_wnd = 0;        // what the peer takes, what we advertised
  uint32_t unacknowledged = 0, unsent = 0;  // bytes sent and not acknowledged; bytes not yet sent
  uint32_t readable = 0;                    // bytes
  instant last_sent{}, last_received{};     // data sent; anything received
};

// What a connection is set to. A listener's are what its connections begin with.
struct connection_options {
  bool nodelay = false;  // Nagle off; RFC 9293 3.7.4
  bool keepalive = false;
  duration keepalive_idle = seconds(7200), keepalive_interval = seconds(75);
  uint32_t keepalive_probes = 9;
  // Set: release() of a connection with data not yet acknowledged. 0: resets it. More: the host waits so long for
  // connection_sent (watch_sent), then aborts; the layer only keeps the value.
  std::optional<duration> linger;
  uint32_t send_buffer_bytes = 0, receive_buffer_bytes = 0;  // 0: what tcp_config says
};

// What close_receive() does with what has come and was not taken.
enum class unread : uint8_t {
  discard,
  keep,  // it stays to be received; behind it at_eof()
};

// All TCP of one stack: demultiplexer, listeners, connections, timers.
//
// Handles: a `connection*` or `listener*` given out by connect(), listen(), accept() is the host's until release();
// events name it until then. release() of a connection that still has work to do (unsent data, FIN, TIME_WAIT) lets it
// finish on its own: it is close() without a reader. Where data has come that nobody took, it resets instead (RFC 1122
// 4.2.2.13): the peer must not believe that it was read.
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
  // Nothing that was sent to this peer left the host (no neighbour answered): opens that wait for it fail with
  // `error`, the others keep it as their soft error.
  void route_failed(ip_address remote, errc error, instant now) noexcept;
  // The address is no longer ours: its connections fail with connaborted, without a word to their peers.
  void address_gone(ip_address local, instant now) noexcept;
  void expire(instant now) noexcept;

  // --- commands: names
  // Keeps a port from everybody else, until release() (bind): port 0 is chosen, address any is all. Several may share
  // one if all say `reuse` and nobody listens there; without `reuse` it also fails where a connection, or what is left
  // of one in TIME_WAIT, has the port. addrinuse, nomem.
  result<reservation*> reserve(endpoint local, bool reuse, instant now) noexcept;
  void release(reservation* r) noexcept;
  // local.address any: all. addrinuse.
  result<listener*> listen(endpoint local, uint32_t backlog, void* cookie, instant now) noexcept;
  result<listener*> listen_at(const reservation* r, uint32_t backlog, void* cookie, instant now) noexcept;
  // More than now: at once. Fewer: those that wait already go on waiting.
  void set_backlog(listener* l, uint32_t backlog) noexcept;
  // The next established connection; again: none waits.
  result<connection*> accept(listener* l, void* cookie) noexcept;
  void release(listener* l, instant now) noexcept;
  // mss etc. come from the path. addrnotavail, addrinuse, netunreach, nobufs (tcp_config::connections_max), nomem.
  result<connection*> connect(endpoint local, endpoint remote, void* cookie, instant now) noexcept;
  result<connection*> connect_from(const reservation* r, endpoint remote, void* cookie, instant now) noexcept;

  // --- commands: connections
  // Before the next transmit(), what is set here is in a new connection's SYN. Buffers do not shrink below what is in
  // them, nor grow beyond what the window scale of the handshake can say.
  void set_options(connection* c, const connection_options& options, instant now) noexcept;
  // For connections that come from now on.
  void set_options(listener* l, const connection_options& options) noexcept;

  // Takes over data to send. Returns the bytes taken (whole fragments from the front of `data`, the last perhaps
  // split); what was not taken stays in `data`. again: buffer full, a writable event follows. pipe: after close;
  // connreset etc.
  result<size_t> send(connection* c, std::span<fragment> data, instant now) noexcept;
  // Moves received bytes out, in order, at most `max_bytes` and out.size() fragments; returns the number of fragments.
  // 0 and at_eof(): the peer closed. The window stays closed over them until consume().
  result<size_t> receive(connection* c, std::span<fragment> out, size_t max_bytes) noexcept;
  // The same bytes without taking them; nothing is charged for the fragments, so let go of them soon.
  result<size_t> peek(const connection* c, std::span<fragment> out, size_t max_bytes) const noexcept;
  // The application has let go of n bytes taken by receive(): the window may open.
  void consume(connection* c, size_t n, instant now) noexcept;
  // Sends FIN after the data (half-close); receiving goes on.
  void close(connection* c, instant now) noexcept;
  // No more receiving: what arrives afterwards is discarded (acknowledged).
  void close_receive(connection* c, instant now, unread rest = unread::discard) noexcept;
  // Sends RST, forgets the data.
  void abort(connection* c, instant now) noexcept;
  void release(connection* c, instant now) noexcept;
  void set_nodelay(connection* c, bool on) noexcept;
  void set_keepalive(connection* c, bool on, duration idle, duration interval, uint32_t probes) noexcept;
  // Why it failed, told once; then, once each, what the network has said since the peer last answered (a soft error:
  // RFC 1122 4.2.3.9) and nothing.
  std::optional<errc> take_error(connection* c) noexcept;

  // --- questions
  four_tuple tuple(const connection* c) const noexcept;
  endpoint local(const listener* l) const noexcept;
  endpoint local(const reservation* r) const noexcept;
  connection_options options(const connection* c) const noexcept;
  connection_options options(const listener* l) const noexcept;
  bool at_eof(const connection* c) const noexcept;  // FIN reached or reception closed, and all data taken
  size_t readable_bytes(const connection* c) const noexcept;
  size_t send_room(const connection* c) const noexcept;
  std::optional<errc> error(const connection* c) const noexcept;  // why it failed, told always
  connection_stats stats(const connection* c) const noexcept;
  void set_cookie(connection* c, void* cookie) noexcept;
  // connection_sent is posted once, when all that was handed to send(), and the FIN after close(), is acknowledged:
  // only for who asks.
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

// All TCP of one stack behind layer.hh: the tables, and the functions that move connections, cut by concern over files.
//
//     layer.cc       the door: forwards
//     commands.cc    what the host asks of a connection: connect, send, receive, consume, close, abort, release
//     names.cc       who owns which port: listen, accept, reserve; what connections are set to
//     input.cc       a segment comes in: RFC 9293 3.10.7, one function a step
//     ack.cc         step 5: what an acknowledgment frees, recovery, the send window
//     text.cc        steps 7 and 8: payload and FIN; right-sized memory; which ACK is due
//     passive.cc     LISTEN, half-open connections, TIME-WAIT
//     output.cc      what may be sent now
//     segment.cc     building segments
//     window.cc      the window that we advertise
//     expire.cc      what happens when a deadline strikes
//     network.cc     what IP says: ICMP errors, the path's MTU, no route, an address that went
//     core.cc        birth and death of connections; is_valid()
//
// A connection that ends inside a function goes to `dead` and is freed when the door closes (reap), so that no function
// holds a dangling reference.
// Owns: connections, listeners, half-open, TIME-WAIT. Borrows: memory, ip_output, event_queue.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "net/base/prng.hh"
#include "net/base/siphash.hh"
#include "net/host/config.hh"
#include "net/host/event_queue.hh"
#include "net/host/stats.hh"
#include "net/packet/pool.hh"
#include "net/tcp/connection.hh"
#include "net/tcp/demux.hh"
#include "net/tcp/layer.hh"
#include "net/tcp/list.hh"
#include "net/tcp/listener.hh"
#include "net/tcp/slab.hh"
#include "net/tcp/timers.hh"
#include "net/wire/tcp.hh"

namespace solaster::net::tcp {

// A segment that came in, checked; `payload` is without the header. The header lies in memory that a device may still
// write to: what is checked here was read from there once.
struct incoming {
  flow_key key;
  seq begin;
  seq ack;
  uint32_t length = 0;  // of the payload
  uint16_t window = 0;
  uint8_t flags = 0;
  // A SYN's; in other segments they are not read, so not set.
  int8_t scale;  // window scale; -1: none
  uint16_t mss;  // 0: none
  packet_ptr payload;

  bool has(uint8_t flag) const noexcept { return flags & flag; }
  // In sequence space: SYN and FIN count.
  uint32_t span() const noexcept { return length + has(tcp_syn) + has(tcp_fin); }
  seq end() const noexcept { return begin + span(); }
};

// The note of a reply that waits to be sent.
struct reply_addresses {
  ip_address from, to;
};

// Where in a send queue.
struct cursor {
  uint32_t index;   // of the fragment
  uint32_t offset;  // in it
};

class core {
 public:
  core(const stack_config& config, memory& m, ip_output& ip, event_queue& events, stack_stats& totals) noexcept;
  ~core();
  core(const core&) = delete;

  // --- input.cc
  void input(const segment_info& info, packet_ptr p, instant now) noexcept;

  // --- network.cc
  void icmp_error(const four_tuple& tuple, seq quoted, errc error, bool hard, uint32_t mtu) noexcept;
  void route_failed(ip_address remote, errc error) noexcept;
  void address_gone(ip_address local) noexcept;

  // --- expire.cc
  void expire(instant now) noexcept;
  instant next_deadline() const noexcept;

  // --- output.cc
  void transmit(instant now) noexcept;

  // --- names.cc
  result<reservation*> reserve(endpoint local, bool reuse) noexcept;
  void release(reservation& r) noexcept;
  result<listener*> listen(endpoint local, const reservation* r, uint32_t backlog, void* cookie) noexcept;
  result<connection*> accept(listener& l, void* cookie) noexcept;
  void release(listener& l) noexcept;
  void set_options(connection& c, const connection_options& options) noexcept;
  void set_nodelay(connection& c, bool on) noexcept;
  void set_keepalive(connection& c, bool on, duration idle, duration interval, uint32_t probes) noexcept;

  // --- commands.cc
  result<connection*> connect(endpoint local, const reservation* r, endpoint remote, void* cookie,
                              instant now) noexcept;
  result<size_t> send(connection& c, std::span<fragment> data) noexcept;
  result<size_t> send_many(connection& c, std::span<fragment> data) noexcept;
  result<size_t> receive(connection& c, std::span<fragment> out, size_t max_bytes) noexcept;
  size_t peek(const connection& c, std::span<fragment> out, size_t max_bytes) const noexcept;
  void consume(connection& c, size_t n) noexcept;
  void close(connection& c) noexcept;
  void close_receive(connection& c, unread rest) noexcept;
  void abort(connection& c) noexcept;
  void release(connection& c, instant now) noexcept;
  void watch_sent(connection& c) noexcept;
  std::optional<errc> take_error(connection& c) noexcept;

  bool valid() const noexcept { return _small != nullptr; }
  size_t send_room(const connection& c) const noexcept;
  size_t connection_count() const noexcept { return _connections.live(); }
  bool is_valid() const noexcept;

  stack_stats& stats;

 private:
  using connection_list = linked_list<connection, &connection::all_link>;

  // --- core.cc
  result<connection*> make_connection(const flow_key& key, const path& way) noexcept;
  void destroy(connection& c) noexcept;
  // Out of the tables; the handle stays until release().
  void become_closed(connection& c) noexcept;
  void fail(connection& c, errc error) noexcept;
  void reap() noexcept {
    if (!_dead.empty()) [[unlikely]] {
      collect_dead();
    }
  }
  void collect_dead() noexcept;
  bool valid_waiting() const noexcept;
  void discard_received(connection& c) noexcept;
  // After each change of the assembler.
  void account_out_of_order(connection& c) noexcept {
    const uint32_t charge = c.out_of_order.charge();
    _receive_memory += charge;
    _receive_memory -= std::exchange(c.out_of_order_counted, charge);
  }
  void post(connection& c, uint32_t bits) noexcept {
    if (c.held) {
      _events.post(c.source, bits);
    }
  }
  void want_output(connection& c) noexcept {
    if (!c.output_link.linked) {
      _output.push_back(&c);
    }
  }
  void arm(connection& c, timer t, instant at) noexcept {
    c.deadline(t) = at;
    if (at < c.entry_at) [[unlikely]] {
      _timers.set(c, at);
    }
  }
  void disarm(connection& c, timer t) noexcept { c.deadline(t) = instant::never(); }
  bool tuple_used(const flow_key& key) const noexcept { return _flows.find(key) != nullptr; }

  // --- names.cc
  // A listener or a reservation other than `mine` keeps `local` from whoever shares it as `reuse` says.
  bool port_taken(endpoint local, const reservation* mine, bool reuse) const noexcept;
  bool port_of_a_flow(endpoint local) const noexcept;
  uint16_t choose_listening_port(ip_address address) noexcept;
  listener* find_listener(ip_address address, uint16_t port) const noexcept;
  void adopt(connection& c, const connection_options& options) noexcept;

  // --- input.cc
  void input_connection(connection& c, incoming& s, instant now) noexcept;
  bool predicted(const connection& c, const incoming& s) const noexcept;
  void input_steps(connection& c, incoming& s, instant now) noexcept;
  bool check_sequence(connection& c, const incoming& s, instant now) noexcept;
  bool check_reset(connection& c, const incoming& s, instant now) noexcept;
  bool check_syn(connection& c, const incoming& s, instant now) noexcept;
  bool check_ack(connection& c, const incoming& s, instant now) noexcept;
  void trim_to_window(connection& c, incoming& s) noexcept;
  void input_syn_sent(connection& c, incoming& s, instant now) noexcept;
  void input_closed(const incoming& s) noexcept;
  static void set_mss(connection& c, uint32_t mss) noexcept;
  void adopt_syn(connection& c, uint16_t peer_mss, int8_t peer_scale) noexcept;
  void establish(connection& c, bool syn_lost, instant now) noexcept;
  // RFC 5961: an ACK that asks "really?", so many a second.
  void challenge(connection& c, instant now) noexcept;
  static bool challenge_allowed(flow& f, instant now) noexcept;

  // --- network.cc
  void lower_path_mtu(connection& c, uint32_t mtu) noexcept;

  // --- ack.cc
  // `begin` is the segment's, as far as it is news.
  void update_window(connection& c, seq begin, const incoming& s) noexcept;
  void end_setback(connection& c) noexcept;
  void acknowledged(connection& c, seq ack, instant now) noexcept;
  void acknowledged_in_recovery(connection& c, seq ack, uint32_t bytes, instant now) noexcept;
  void duplicate_ack(connection& c, instant now) noexcept;
  void release_sent(connection& c, uint32_t bytes) noexcept;
  // False: the connection has left the table.
  bool fin_acknowledged(connection& c, instant now) noexcept;
  // All that the host handed over has reached the peer, the end too.
  void tell_sent(connection& c) noexcept;

  // --- text.cc
  void process_text(connection& c, incoming& s, instant now) noexcept;
  // False: no memory, or the connection is gone.
  bool accept_in_order(connection& c, packet_ptr p, uint32_t length, instant now) noexcept;
  void accept_out_of_order(connection& c, incoming& s) noexcept;
  bool queue_text(connection& c, packet_ptr p) noexcept;
  bool queue_small(connection& c, const packet& p) noexcept;
  void right_size(packet& p) noexcept;
  void schedule_ack(connection& c, instant now) noexcept;
  void process_fin(connection& c, instant now) noexcept;

  // --- passive.cc
  void input_listen(listener& l, incoming& s, instant now) noexcept;
  void answer_syn(listener& l, incoming& s, seq iss, instant now) noexcept;
  void input_half_open(half_open& h, incoming& s, instant now) noexcept;
  void promote(half_open& h, incoming& s, instant now) noexcept;
  uint32_t receive_limit(const listener& l) const noexcept {
    return l.options.receive_buffer_bytes ? l.options.receive_buffer_bytes : _config.receive_buffer_bytes;
  }
  void send_syn_ack(half_open& h) noexcept;
  void challenge(half_open& h, instant now) noexcept;
  void destroy(half_open& h) noexcept;
  void expire_half_open(instant now) noexcept;
  void enter_time_wait(connection& c, instant now) noexcept;
  void input_time_wait(time_wait& t, incoming& s, instant now) noexcept;
  void destroy(time_wait& t) noexcept;
  void expire_time_wait(instant now) noexcept;

  // --- output.cc
  struct plan {
    bool go = false;
    bool fin = false;
    uint32_t length = 0;
  };
  bool output(connection& c, instant now) noexcept;
  bool output_syn(connection& c, instant now) noexcept;
  plan next_segment(const connection& c) const noexcept;
  void sent(connection& c, seq begin, uint32_t length, bool fin, instant now) noexcept;
  void send_again(connection& c, instant now) noexcept;
  void resend_front(connection& c, instant now) noexcept;
  void send_probe(connection& c, instant now) noexcept;
  bool output_acks(connection& c, instant now) noexcept;
  bool flush_replies(instant now) noexcept;

  // --- segment.cc
  // Sends `length` bytes from `at` (fewer where fragments are too many, and then no FIN); moves `at` behind them.
  // False: no memory.
  bool send_segment(connection& c, cursor& at, seq begin, uint32_t& length, bool& fin, instant now) noexcept;
  packet_ptr make_segment(connection& c, cursor& at, uint32_t& length) noexcept;
  packet_ptr copy_payload(connection& c, cursor& at, uint32_t length) noexcept;
  bool share_payload(connection& c, packet& p, cursor& at, uint32_t& length) noexcept;
  bool send_pure_ack(connection& c, instant now) noexcept;
  void finish(connection& c, packet_ptr p, seq begin, uint8_t flags, uint32_t payload, instant now) noexcept;
  void ack_sent(connection& c) noexcept;
  // Segments that belong to no connection that could send them; queued for transmit().
  void reply(const flow_key& key, seq begin, seq ack, uint8_t flags, uint16_t window,
             const tcp_options* options = nullptr) noexcept;
  void reply_ack(const connection& c, seq begin) noexcept;
  void reply_reset(const connection& c) noexcept;

  // --- window.cc
  // How much of a limit a connection may use while all together have used `used` of `max`: no more than is left, so
  // that those that take much leave as much for others; and what is guaranteed to each.
  static uint64_t allowance(uint32_t limit, uint32_t guaranteed, uint64_t used, uint64_t max) noexcept {
    const uint64_t left = used < max ? max - used : 0;
    return left >= limit ? limit : left > guaranteed ? left : guaranteed < limit ? guaranteed : limit;
  }
  // Memory of this size may be held for received data.
  bool may_hold(const connection& c, uint32_t charge, uint64_t max) const noexcept {
    // Nobody holds more than all together: while that is less than half, nobody holds more than is left.
    return _receive_memory + charge <= max / 2 ||
           c.receive_held() + charge <= allowance(UINT32_MAX, _config.receive_guaranteed_bytes, _receive_memory, max);
  }
  // RFC 9293 3.8.6.2.2: tell the peer only when the window has grown by something, and when it was rather small.
  void announce_window(connection& c) noexcept {
    if (uint32_t(c.rcv_end() - c.rcv_nxt) * 2 <= c.receive_limit) [[unlikely]] {
      announce_growth(c);
    }
  }
  void announce_growth(connection& c) noexcept;
  uint16_t advertise(connection& c) noexcept;
  uint32_t receive_free(const connection& c) const noexcept;
  static uint8_t scale_for(uint32_t limit) noexcept;

  // --- expire.cc
  void expire_connection(connection& c, instant now) noexcept;
  void expire_retransmit(connection& c, instant now) noexcept;
  void expire_syn(connection& c, instant now) noexcept;
  void expire_persist(connection& c, instant now) noexcept;
  void expire_keepalive(connection& c, instant now) noexcept;
  void give_up(connection& c) noexcept;
  void rewind(connection& c) noexcept;

  static constexpr uint32_t port_buckets = 64;
  static constexpr uint32_t half_open_levels = 8;

  tcp_config _config;
  uint16_t _port_min, _port_max;  // ephemeral
  memory& _memory;
  ip_output& _ip;
  event_queue& _events;
  hash_key _isn_key;
  prng _random;
  pool_ptr _small;             // buffers of copy_break bytes for received payload
  uint32_t _small_charge = 0;  // of one of them
  uint64_t _small_plenty = 0;  // while less is held, anybody may hold one of them more (may_hold, made beforehand)

  demux _flows;
  timer_heap _timers;
  slab<connection> _connections;
  slab<half_open> _half_opens;
  slab<time_wait> _time_waits;
  slab<listener> _listeners;
  slab<reservation> _reservations;
  connection_list _all;
  linked_list<connection, &connection::output_link> _output;
  linked_list<connection, &connection::output_link> _dead;
  linked_list<listener, &listener::link> _ports[port_buckets];
  linked_list<reservation, &reservation::link> _reserved[port_buckets];
  linked_list<half_open, &half_open::link> _half_open_levels[half_open_levels];
  linked_list<time_wait, &time_wait::link> _time_wait_list;
  packet_list _replies;

  uint64_t _receive_memory = 0;  // the sum of receive_held() over connections
  uint64_t _send_memory = 0;     // the sum of send_charge()
};

}  // namespace solaster::net::tcp

#include "net/tcp/core.hh"

#include <algorithm>

#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

namespace {
// Purposes of keys derived from the stack's secret.
constexpr uint64_t purpose_isn = 0x6e7369;
constexpr uint64_t purpose_flows = 0x776f6c66;
constexpr uint64_t purpose_random = 0x646e6172;
}  // namespace

core::core(const stack_config& config, memory& m, ip_output& ip, event_queue& events, stack_stats& totals) noexcept
    : stats(totals),
      _config(config.tcp),
      _port_min(config.ephemeral_port_min),
      _port_max(std::max(config.ephemeral_port_min, config.ephemeral_port_max)),
      _memory(m),
      _ip(ip),
      _events(events),
      _isn_key(hash_key::derive(config.secret, purpose_isn)),
      _random(hash_key::derive(config.secret, purpose_random).k0),
      _flows(m, hash_key::derive(config.secret, purpose_flows)),
      _timers(m),
      _connections(m, slab_keep),
      _half_opens(m, slab_keep),
      _time_waits(m, slab_keep),
      _listeners(m, 0),
      _reservations(m, 0) {
  const uint32_t size = std::max(_config.copy_break_bytes, 64u);
  // Bounded by the receive memory, not here.
  _small.reset(buffer_pool::make(m, {.buffer_size = size, .buffers_max = UINT32_MAX / 2}));
  if (_small) {
    _small_charge = _small->buffer_size() + uint32_t(sizeof(buffer));
    _small_plenty = std::max<uint64_t>(_config.receive_memory_max / 2, _small_charge) - _small_charge;
  }
}

// The host's handles die with us; a reset would be for nobody.
core::~core() {
  while (connection* c = _all.front()) {
    if (!c->held) {
      become_closed(*c);
      collect_dead();
      continue;
    }
    c->held = false;
    if (c->st != state::closed) {
      become_closed(*c);
      collect_dead();
    } else {
      destroy(*c);
    }
  }
  for (auto& list : _half_open_levels) {
    while (half_open* h = list.front()) {
      destroy(*h);
    }
  }
  while (time_wait* t = _time_wait_list.front()) {
    destroy(*t);
  }
  for (auto& bucket : _ports) {
    while (listener* l = bucket.pop_front()) {
      _listeners.destroy(l);
    }
  }
  for (auto& bucket : _reserved) {
    while (reservation* r = bucket.pop_front()) {
      _reservations.destroy(r);
    }
  }
}

result<connection*> core::make_connection(const flow_key& key, const path& way) noexcept {
  if (_connections.live() >= _config.connections_max) {
    return errc::nobufs;
  }
  if (way.mtu < path_mtu_min) {
    return errc::netunreach;
  }
  connection* c = _timers.reserve(_connections.live() + 1) ? _connections.make(key, _config) : nullptr;
  if (!c) {
    return errc::nomem;
  }
  c->way = way;
  c->rcv_scale = scale_for(c->receive_limit);
  set_mss(*c, way.mtu - ip_header_length - tcp_header_min);
  _all.push_back(c);
  return c;
}

// The largest segment that the device cuts is a segment of its own where it cuts none.
void core::set_mss(connection& c, uint32_t mss) noexcept {
  c.mss = uint16_t(mss);
  const uint32_t limit = std::min(c.way.gso_max, gso_size_max);
  c.segment_max = c.way.tx_checksum && limit > mss + headers_max ? limit - headers_max : mss;
}

void core::destroy(connection& c) noexcept {
  CHECK(!c.in_table && !c.output_link.linked);
  discard_received(c);
  _receive_memory -= c.taken_charge;
  _events.remove(c.source);
  _all.remove(&c);
  _connections.destroy(&c);
}

void core::become_closed(connection& c) noexcept {
  if (c.st == state::closed) {
    return;
  }
  c.st = state::closed;
  if (c.in_table) {
    _flows.remove(&c);
  }
  _timers.remove(c);
  for (instant& deadline : c.deadlines) {
    deadline = instant::never();
  }
  if (c.output_link.linked) {
    _output.remove(&c);
  }
  _send_memory -= c.send_charge();
  c.send_queue.clear(_memory);
  c.send_bytes = 0;
  c.out_of_order.clear();
  account_out_of_order(c);
  if (listener* l = std::exchange(c.owner, nullptr)) {
    l->queue.remove(&c);
    --l->waiting;
  }
  if (!c.held) {
    _dead.push_back(&c);
  }
}

void core::fail(connection& c, errc error) noexcept {
  c.failure = error;
  become_closed(c);
  post(c, connection_failed);
}

void core::collect_dead() noexcept {
  while (connection* c = _dead.pop_front()) {
    destroy(*c);
  }
}

void core::discard_received(connection& c) noexcept {
  c.receive_queue.clear(_memory);
  _receive_memory -= c.receive_charge;
  c.receive_bytes = 0;
  c.receive_charge = 0;
}

bool connection::is_valid() const noexcept {
  return valid_memory() && (st == state::closed ? valid_closed() : valid_open());
}

bool connection::valid_memory() const noexcept {
  if (!send_queue.is_valid() || !receive_queue.is_valid() || !out_of_order.is_valid()) {
    return false;
  }
  uint64_t charge = 0;
  for (uint32_t i = receive_queue.head(); i != receive_queue.tail(); ++i) {
    charge += receive_queue.at(i).owner()->charge;
  }
  return send_queue.collect_bytes() == send_bytes && receive_queue.collect_bytes() == receive_bytes &&
         charge == receive_charge && out_of_order.charge() == out_of_order_counted && (taken_bytes || !taken_charge);
}

bool connection::valid_closed() const noexcept {
  return !in_table && heap_index == not_in_heap && send_queue.empty() && out_of_order.empty() && !owner &&
         !output_link.linked;
}

bool connection::valid_open() const noexcept {
  if (!in_table || (owner && held) || snd_nxt < snd_una || snd_max < snd_nxt) {
    return false;
  }
  const instant earliest = *std::min_element(std::begin(deadlines), std::end(deadlines));
  if (entry_at > earliest || (earliest != instant::never() && heap_index == not_in_heap)) {
    return false;
  }
  if (!synchronized(st)) {
    return out_of_order.empty() && receive_bytes == 0;
  }
  if (outstanding() > send_bytes + fin_queued || rcv_nxt > rcv_adv + 1 || mss == 0 || segment_max < mss) {
    return false;
  }
  // What came before its turn came after rcv_nxt, and nothing does behind a FIN.
  if (!out_of_order.empty() && (fin_received || out_of_order.first() <= rcv_nxt)) {
    return false;
  }
  if (timing && (timed_end <= snd_una || timed_end > snd_max)) {
    return false;
  }
  if (recovery.active && (recovery.recover <= snd_una || recovery.recover > snd_max)) {
    return false;
  }
  if (congestion.cwnd() == 0 || (trouble.persisting && deadlines[size_t(timer::retransmit)] == instant::never())) {
    return false;
  }
  // Something in flight, and nobody looking after it: it would never be sent again.
  if (outstanding() && deadlines[size_t(timer::retransmit)] == instant::never() && !output_link.linked) {
    return false;
  }
  // The cursor stands at snd_nxt.
  uint64_t offset = nxt_offset;
  for (uint32_t i = send_queue.head(); i != nxt_index; ++i) {
    if (i == send_queue.tail()) {
      return false;
    }
    offset += send_queue.at(i).size();
  }
  return offset == std::min(flight(), send_bytes);
}

bool core::is_valid() const noexcept {
  uint64_t held = 0;
  uint64_t to_send = 0;
  uint32_t flows = 0;
  for (const connection* c = _all.front(); c; c = _all.next(c)) {
    if (!c->is_valid()) {
      return false;
    }
    held += c->receive_held();
    to_send += c->send_charge();
    flows += c->in_table;
  }
  flows += _half_opens.live() + _time_waits.live();
  return held == _receive_memory && to_send == _send_memory && flows == _flows.size() && _flows.is_valid() &&
         _timers.is_valid() && _all.is_valid() && _output.is_valid() && _dead.empty() && valid_waiting() &&
         _connections.is_valid() && _half_opens.is_valid() && _time_waits.is_valid() && _replies.size() <= replies_max;
}

// Half-open connections, TIME-WAIT, listeners: each list ordered by deadline, each entry where it says it is.
bool core::valid_waiting() const noexcept {
  uint32_t count = 0;
  for (uint32_t level = 0; level < half_open_levels; ++level) {
    const auto& list = _half_open_levels[level];
    instant last{};
    for (const half_open* h = list.front(); h; h = list.next(h)) {
      if (!h->in_table || h->retries != level || h->deadline < last || !h->owner) {
        return false;
      }
      last = h->deadline;
      ++count;
    }
    if (!list.is_valid()) {
      return false;
    }
  }
  if (count != _half_opens.live() || count > std::max(_config.syn_backlog_max, 1u)) {
    return false;
  }
  instant last{};
  count = 0;
  for (const time_wait* t = _time_wait_list.front(); t; t = _time_wait_list.next(t)) {
    if (!t->in_table || t->deadline < last || t->rcv_end < t->rcv_nxt) {
      return false;
    }
    last = t->deadline;
    ++count;
  }
  if (count != _time_waits.live() || count > _config.time_wait_max || !_time_wait_list.is_valid()) {
    return false;
  }
  for (const auto& bucket : _ports) {
    for (const listener* l = bucket.front(); l; l = bucket.next(l)) {
      if (!l->is_valid() || &bucket != &_ports[l->local.port % port_buckets]) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace solaster::net::tcp

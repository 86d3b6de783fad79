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
      _listeners(m, 0) {
  const uint32_t size = std::max(_config.copy_break_bytes, 64u);
  // Bounded by the receive memory, not here.
  _small.reset(buffer_pool::make(m, {.buffer_size = size, .buffers_max = UINT32_MAX / 2}));
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
}

connection* core::make_connection(const flow_key& key, const path& way) noexcept {
  if (_connections.live() >= _config.connections_max || way.mtu < path_mtu_min ||
      !_timers.reserve(_connections.live() + 1)) {
    return nullptr;
  }
  connection* c = _connections.make(key, _config);
  if (!c) {
    return nullptr;
  }
  c->way = way;
  c->receive_limit = _config.receive_buffer_bytes;
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
  const auto bytes = [](const fragment_queue& q) {
    uint64_t sum = 0;
    for (uint32_t i = q.head(); i != q.tail(); ++i) {
      sum += q.at(i).size();
    }
    return sum;
  };
  if (bytes(send_queue) != send_bytes || bytes(receive_queue) != receive_bytes || !out_of_order.is_valid()) {
    return false;
  }
  uint64_t charge = 0;
  for (uint32_t i = receive_queue.head(); i != receive_queue.tail(); ++i) {
    charge += receive_queue.at(i).owner()->charge;
  }
  if (charge != receive_charge) {
    return false;
  }
  if (st == state::closed) {
    return !in_table && heap_index == not_in_heap && send_bytes == 0;
  }
  if (snd_nxt < snd_una || snd_max < snd_nxt) {
    return false;
  }
  const instant earliest = *std::min_element(std::begin(deadlines), std::end(deadlines));
  if (entry_at > earliest) {
    return false;
  }
  if (!synchronized(st)) {
    return true;
  }
  if (outstanding() > send_bytes + fin_queued || rcv_nxt > rcv_adv + 1) {
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
  uint32_t flows = 0;
  for (const connection* c = _all.front(); c; c = _all.next(c)) {
    if (!c->is_valid()) {
      return false;
    }
    held += c->receive_held();
    flows += c->in_table;
  }
  flows += _half_opens.live() + _time_waits.live();
  return held == _receive_memory && flows == _flows.size() && _timers.is_valid() && _all.is_valid() &&
         _output.is_valid() && _dead.empty() && _time_wait_list.is_valid();
}

}  // namespace solaster::net::tcp

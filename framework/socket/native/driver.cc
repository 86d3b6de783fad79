#include "framework/socket/native/driver.hh"

#include "framework/log/log.hh"
#include "framework/memory/memory.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/native/wrap.hh"

#include <algorithm>
#include <stdexcept>

namespace solaster::native {
namespace {

logger native_log("native");
logger stats_log("stats");  // the closing statistics: --logger-log-level stats=debug
// In a packet of ours that is at another shard: what it is counted as until it comes home.
enum class whereabouts : uint8_t { handed_over, sent_abroad };

net::stack_config make_stack_config(const shared_state& shared, unsigned shard, unsigned shards) {
  net::stack_config c;
  c.secret = shared.secret;
  c.shard = shard;
  c.shards = shards;
  if (size_t total = solaster::memory::total_bytes()) {
    // A quarter of the shard's memory at most waits in receive queues, and as much in send queues.
    c.tcp.receive_memory_max = std::min<uint64_t>(c.tcp.receive_memory_max, total / 4);
    c.tcp.send_memory_max = std::min<uint64_t>(c.tcp.send_memory_max, total / 4);
  }
  return c;
}

net::interface_config make_interface_config(const net::device_info& info) {
  return {
      .mac = info.mac, .mtu = info.mtu, .tx_checksum = info.tx_checksum, .tso4 = info.tso4, .gso_max = info.gso_max};
}

}  // namespace

constinit thread_local driver* this_driver = nullptr;
static constinit thread_local driver* this_addressee = nullptr;

driver* driver::addressee() noexcept {
  return this_addressee;
}

driver::driver(shared_state& shared)
    : _shared(shared), _shard(this_shard_id()), _shards(smp::count), _handover(smp::count), _retirement([this] {
        unpin_retired();
      }) {
  _slab = new net::packet_slab(_memory);
  _foreign = std::make_unique<foreign_packets>(*_slab, _shards);
  nic& device = *shared.device;
  if (_shard < device.queue_pairs()) {
    _queue = &device.open_queue(_shard, _memory, *_slab);
  }
  _owner = device.queue_owner(_shard);
  _stack = net::stack::make(make_stack_config(shared, _shard, _shards), shared.steering, _memory, *_slab, now());
  if (!_stack) {
    throw std::runtime_error("no memory for the network stack");
  }
  _stack->set_interface(make_interface_config(device.info()));
  this_driver = this_addressee = this;
}

driver::~driver() {
  stop();
  _inbox = {};
  _out = {};
  end_stack();
  _kept.clear();
  this_addressee = nullptr;
  if (_slab->live() == 0) {
    _foreign.reset();
    delete _slab;
  } else {
    (void)_foreign.release();  // somebody still holds a packet or a buffer of a visitor
  }
}

void driver::start() {
  _running = true;
  engine().add_poller(*this);
  _dirty = true;
}

void driver::stop() noexcept {
  if (std::exchange(_running, false)) {
    engine().remove_poller(*this);
    _retirement.cancel();
  }
}

void driver::end_stack() noexcept {
  this_driver = nullptr;
  if (net::stack* s = std::exchange(_stack, nullptr)) {
    net::stack::destroy(s);
  }
}

void driver::close() noexcept {
  if (_queue) {
    _out = {};
    _shared.device->device().close_queue(uint16_t(_shard));
    _queue = nullptr;
  }
  end_stack();
}

// ------------------------------------------------------------------ the turn

bool driver::poll() {
  bool any = _dirty;
  if (now() >= _deadline) [[unlikely]] {
    _stack->expire(now());
    any = true;
  }
  if (any) {
    _dirty = false;
    _stack->transmit(*this, now());
  }
  if (!_out.empty()) {
    push_out();
  }
  if (_stalled && _out.size() < driver_limits::transmit_burst) [[unlikely]] {
    _stalled = false;
    _dirty = true;
    any = true;
  }
  if (receive()) {
    any = true;
    _dirty = true;  // what it answers goes out in the next turn, with what the sockets say to it
  }
  if (any) {
    run_events();
    _deadline = _stack->next_deadline();
  }
  if (has_messages()) [[unlikely]] {
    send_messages();
    any = true;
  }
  return any;
}

bool driver::receive() noexcept {
  net::packet_list got;
  if (_queue) {
    if (_queue->receive(got, driver_limits::receive_burst) > 0 && _shards > 1) {
      steer(got);
    }
    _queue->reap();
    _queue->kick();
  }
  got.append(std::move(_inbox));
  if (got.empty()) {
    return false;
  }
  _stack->receive(std::move(got), now());
  return true;
}

void driver::run_events() noexcept {
  while (auto e = _stack->next_event()) {
    dispatch(*e);
  }
}

void driver::dispatch(const net::event& e) noexcept {
  switch (e.kind) {
    case net::event_kind::connection:
    case net::event_kind::listener:
    case net::event_kind::udp:
      if (e.cookie) {
        static_cast<event_target*>(e.cookie)->on_event(e.bits);
      }
      return;
    case net::event_kind::address_configured:
      if (_on_address) {
        _on_address({.address = e.address, .prefix_length = e.prefix_length, .gateway = e.gateway});
      }
      return;
    case net::event_kind::address_lost:
      native_log.warn("the DHCP lease ran out and was not renewed: connections of its address are gone");
      _shared.address.reset();
      (void)smp::invoke_on_others([] {
        if (driver* d = local()) {
          d->_stack->clear_address(d->now());
          d->touch();
        }
      });
      return;
    case net::event_kind::neighbour_learned:
      broadcast_neighbour(e);
      return;
  }
}

void driver::broadcast_neighbour(const net::event& e) noexcept {
  for (unsigned s = 0; s < _shards; ++s) {
    if (s != _shard) {
      (void)smp::submit_framework_call(s, [address = e.address, mac = e.mac, bits = e.bits] {
        if (driver* d = local()) {
          d->_stack->learn_neighbour(address, mac, d->now(), bits);
          d->touch();
        }
      });
    }
  }
}

// ------------------------------------------------------------------ out

bool driver::ready() noexcept {
  if (_out.size() >= driver_limits::transmit_burst) {
    push_out();
  }
  _stalled = _out.size() >= driver_limits::transmit_burst;
  return !_stalled;
}

void driver::put(net::packet_ptr p) noexcept {
  _out.push_back(std::move(p));
}

void driver::push_out() noexcept {
  if (_queue) {
    _queue->transmit(_out);
    return;  // the turn's kick comes after the receive
  }
  size_t n = std::min(_out.size(), driver_limits::abroad_max - std::min(_abroad, driver_limits::abroad_max));
  if (n == 0) {
    return;
  }
  packet_chain packets;
  for (size_t i = 0; i < n; ++i) {
    net::packet* p = _out.pop_front().release();
    p->note.set(whereabouts::sent_abroad);
    packets.push_back(p);
  }
  if (!send<&driver::send_for>(_owner, packets)) {  // another time, in the same order
    net::packet_list behind = std::move(_out);
    while (net::packet* p = packets.pop_front()) {
      _out.push_back(net::packet_ptr(p));
    }
    _out.append(std::move(behind));
    return;
  }
  _abroad += n;
  _stats.sent_abroad += n;
}

void driver::send_for(unsigned from, packet_chain packets) noexcept {
  while (net::packet* theirs = packets.pop_front()) {
    if (net::packet_ptr p = _foreign->adopt(theirs, from)) {
      _out.push_back(std::move(p));
    }
  }
  touch();
}

// ------------------------------------------------------------------ between shards

unsigned driver::shard_of(const net::packet& p) const noexcept {
  net::classification c = _shared.steering.classify(p);
  return c.kind == net::classification::kind::flow ? _pinned.shard_for(c.protocol, c.port, c.shard) : c.shard;
}

// Keeps ours, puts the others' aside. A packet crosses while nobody else refers to its buffers: it comes straight from
// the ring.
void driver::steer(net::packet_list& got) noexcept {
  net::packet_list ours;
  while (net::packet_ptr p = got.pop_front()) {
    unsigned to = shard_of(*p);
    if (to == _shard) {
      ours.push_back(std::move(p));
    } else {
      hand_over(std::move(p), to);
    }
  }
  got = std::move(ours);
}

void driver::hand_over(net::packet_ptr p, unsigned to) noexcept {
  if (_handed_over >= driver_limits::handed_over_max) {
    ++_stats.dropped;  // that shard does not keep up: its peers will slow down
    return;
  }
  p->note.set(whereabouts::handed_over);
  _handover[to].push_back(p.release());
  _has_handover = true;
  ++_handed_over;
  ++_stats.handed_over;
}

// From this host to itself: received like what comes from the wire.
void driver::loop(net::packet_ptr p) noexcept {
  const unsigned to = shard_of(*p);
  if (to == _shard) {
    _inbox.push_back(std::move(p));
  } else {
    hand_over(std::move(p), to);
  }
}

// To the driver of another shard, which has them delivered. False: there was no memory for the message, and they are
// still here.
template <auto Deliver>
bool driver::send(unsigned to, packet_chain& packets) noexcept {
  DCHECK(to != _shard);  // a future that has failed is a message that was not sent
  struct parcel {
    unsigned from;
    packet_chain packets;
    void operator()() noexcept {
      if (driver* d = addressee()) {
        (d->*Deliver)(from, std::move(packets));
      }
    }
  } p{_shard, std::move(packets)};
  auto sent = smp::submit_framework_call(to, std::move(p));
  if (!sent.failed()) [[likely]] {
    return true;
  }
  sent.ignore_ready_future();
  packets = std::move(p.packets);
  return false;
}

void driver::send_messages() noexcept {
  _has_handover = false;
  for (unsigned s = 0; s < _shards; ++s) {
    if (!_handover[s].empty() && !send<&driver::take_in>(s, _handover[s])) {
      _has_handover = true;
    }
    packet_chain home = _foreign->take_returns(s);
    if (!home.empty() && !send<&driver::come_home>(s, home)) {
      _foreign->put_back(s, std::move(home));
    }
  }
}

future<> driver::send_visitors_home() {
  _inbox = {};
  _out = {};
  for (send_messages(); has_messages(); send_messages()) {
    co_await coroutine::yield();  // memory is out
  }
  // Messages of a lane stay in order: when these are there, so are those before them.
  for (unsigned s = 0; s < _shards; ++s) {
    co_await smp::submit_framework_call(s, [] {});
  }
}

void driver::take_in(unsigned from, packet_chain packets) noexcept {
  while (net::packet* theirs = packets.pop_front()) {
    bool crowded = _foreign->visiting() >= driver_limits::visiting_max;
    if (crowded) {
      _stats.copied_bytes += theirs->size();
    }
    if (net::packet_ptr p = crowded ? _foreign->copy(theirs, from, _memory) : _foreign->adopt(theirs, from)) {
      ++_stats.taken_in;
      _inbox.push_back(std::move(p));
    }
  }
}

void driver::come_home(unsigned, packet_chain packets) noexcept {
  while (net::packet* p = packets.pop_front()) {
    if (p->note.get<whereabouts>() == whereabouts::sent_abroad) {
      --_abroad;
    } else {
      --_handed_over;
    }
    net::packet_ptr(p).reset();
  }
  touch();  // there may be room to send again
}

void driver::pin(transport t, uint16_t port, bool on) noexcept {
  if (_shards == 1) {
    return;
  }
  for (unsigned s = 0; s < _shards; ++s) {
    (void)smp::submit_framework_call(s, [t, port, shard = _shard, on] {
      if (driver* d = local()) {
        d->pin_here(t, port, shard, on);
      }
    });
  }
}

// Who may have the port was decided by the claims; here the last word of one shard may come after the first of the
// next.
void driver::pin_here(transport t, uint16_t port, unsigned shard, bool on) noexcept {
  if (!on) {
    _pinned.unpin(uint8_t(t), port, shard);
  } else if (!_pinned.pin(uint8_t(t), port, shard, true)) {
    native_log.warn("port {}: more than {} ports are served by some shards only; its packets go by their flow", port,
                    net::port_pins::pins_max);
  }
}

void driver::retire(uint16_t port) noexcept {
  try {
    _retired.push_back(port);
  } catch (...) {  // it stays pinned, and claimed
    return;
  }
  if (!_retirement.armed()) {
    _retirement.arm_periodic(driver_limits::retirement_check);
  }
}

// Whether a listener or a connection, also one that is only finishing, still has it.
bool driver::has_port(uint16_t port) noexcept {
  auto mine = tcp().reserve({{}, port}, false, now());
  if (mine) {
    tcp().release(*mine);
  }
  return !mine;
}

void driver::unpin_retired() noexcept {
  std::erase_if(_retired, [this](uint16_t port) {
    if (has_port(port)) {
      return false;
    }
    pin(transport::tcp, port, false);
    ports().release(transport::tcp, port);
    return true;
  });
  if (_retired.empty()) {
    _retirement.cancel();
  }
}

// ------------------------------------------------------------------ sleep

// A starving queue raises no interrupt: it is looked at again when memory may be back.
instant driver::next_deadline() {
  return _queue && _queue->starving() ? std::min(_deadline, now() + driver_limits::starving_retry) : _deadline;
}

bool driver::try_enter_interrupt_mode() {
  if (_dirty || !_inbox.empty() || has_messages()) {
    return false;
  }
  if (!_queue && !_out.empty() && _abroad < driver_limits::abroad_max) {
    return false;  // there was no memory for the message, and nobody says when there is some
  }
  if (_queue && !_queue->arm()) {
    _queue->disarm();
    return false;
  }
  _armed = true;
  ++_stats.interrupts_armed;
  return true;
}

void driver::exit_interrupt_mode() {
  if (std::exchange(_armed, false) && _queue) {
    _queue->disarm();
  }
}

void driver::log_stats() const {
  const net::stack_stats& s = _stack->stats();
  if (_queue) {
    const net::queue_stats& q = _queue->stats();
    stats_log.debug(
        "queue {}: received {} packets ({} bytes, {} dropped), sent {} packets ({} bytes), {} kicks, {} bytes copied, "
        "{} device errors",
        _shard, q.rx_packets, q.rx_bytes, q.rx_dropped, q.tx_packets, q.tx_bytes, q.kicks, q.copied_bytes,
        q.device_errors);
  }
  stats_log.debug(
      "stack {}: received {}, sent {}, {} retransmitted, accepted {}, opened {}; handed over {}, {} dropped on the "
      "way, taken in {}, sent abroad {}; slept {} times; {} bytes copied",
      _shard, s.received, s.sent, s.tcp_retransmits, s.tcp_connections_accepted, s.tcp_connections_opened,
      _stats.handed_over, _stats.dropped, _stats.taken_in, _stats.sent_abroad, _stats.interrupts_armed,
      _stats.copied_bytes + s.copied_bytes);
  for (size_t i = 0; i < s.drops.size(); ++i) {
    if (s.drops[i]) {
      stats_log.debug("stack {}: dropped {}: {}", _shard, name_of(net::drop_reason(i)), s.drops[i]);
    }
  }
}

}  // namespace solaster::native

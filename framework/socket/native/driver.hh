// What drives one shard's net::stack: feeds it packets and time, sends what it wants sent, hands its events to the
// sockets.
//
// A turn: what the sockets asked for since the last turn goes out; what the queue (or another shard) brought goes in;
// events wake the sockets' futures, whose tasks run before the next turn. So an acknowledgement rides on the answer,
// and a burst is answered with one kick.
//
// With several shards the packets of a flow go to the shard that its hash names; see foreign.hh for how they travel. A
// shard without a queue sends through the queue of another.
//
// Owns: the stack, the slab, packets on their way. Context: shard-local. Limits: driver_limits.
#pragma once

#include "framework/base/function.hh"
#include "framework/device/nic.hh"
#include "framework/device/shard_memory.hh"
#include "framework/future/task.hh"
#include "framework/reactor/backend/backend.hh"
#include "framework/reactor/timer.hh"
#include "framework/socket/native/foreign.hh"
#include "framework/socket/native/ports.hh"
#include "net/device/port_pins.hh"
#include "net/stack/stack.hh"

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace solaster::native {

struct driver_limits {
  static constexpr duration retirement_check = seconds(1);  // between looks whether a retired port is free
  static constexpr size_t receive_burst = 64;               // packets taken from the queue in a turn
  static constexpr size_t transmit_burst = 64;              // packets of the stack that wait for the queue
  static constexpr size_t abroad_max = 256;                 // packets of ours at the owner of a queue
  static constexpr size_t handed_over_max =
      2048;  // packets on their way to other shards and not home again; more are dropped
  static constexpr duration starving_retry = milliseconds(5);  // a queue that lacks buffers is looked at so often
  static constexpr size_t visiting_max = 512;                  // beyond, a packet that comes is copied and sent home
};

// A socket as the stack's events know it: their cookie.
class event_target {
 public:
  virtual void on_event(uint32_t bits) noexcept = 0;
  // What the stack is given: the driver casts it back to this type, whatever else the socket derives from.
  void* cookie() noexcept { return this; }

 protected:
  ~event_target() = default;
};

// What the shards share. Made by shard 0; but for the claims, which have a lock, read-only once the stacks run.
struct shared_state {
  std::unique_ptr<nic> device;
  net::steering steering;
  std::array<uint8_t, 32> secret{};
  bool device_steers = false;
  std::optional<net::address_config> address;
  port_claims ports;
};

struct driver_stats {
  uint64_t handed_over = 0;       // packets that belonged to another shard
  uint64_t dropped = 0;           // because too many were on their way to other shards
  uint64_t taken_in = 0;          // packets that other shards brought
  uint64_t sent_abroad = 0;       // packets sent through another shard's queue
  uint64_t interrupts_armed = 0;  // times that the shard slept
  uint64_t copied_bytes = 0;      // of payload, by the sockets
};

class driver;
[[gnu::tls_model("local-exec")]] extern constinit thread_local driver* this_driver;

class driver final : public poller, private net::transmit_sink {
 public:
  explicit driver(shared_state& shared);
  driver(const driver&) = delete;
  ~driver() override;

  // This shard's for its sockets, or null before it is made and when its stack is gone.
  static driver* local() noexcept { return this_driver; }
  // This shard's for messages from other shards: to the very end.
  static driver* addressee() noexcept;

  net::stack& stack() noexcept { return *_stack; }
  net::tcp::layer& tcp() noexcept { return _stack->tcp(); }
  net::memory& memory() noexcept { return _memory; }
  net::packet_slab& slab() noexcept { return *_slab; }
  instant now() const noexcept { return {solaster::internal::hot.loop_now_ns}; }
  // A command was given: the stack has something to say.
  void touch() noexcept { _dirty = true; }

  void start();
  // No more packets and events; the sockets' handles stay good.
  void stop() noexcept;
  // After stop() everywhere and the device's reset: gives the queue's buffers back and ends the stack with all its
  // connections; then, twice on every shard, so that what was on its way comes home, too: lets go of packets that wait
  // and sends visitors home.
  void close() noexcept;
  future<> send_visitors_home();

  port_claims& ports() noexcept { return _shared.ports; }
  // Packets for this port come to this shard, or do not any more: tells every shard. Until a shard has heard of it, it
  // sends them where their flow's hash says.
  void pin(transport t, uint16_t port, bool on) noexcept;
  // A pinned TCP port whose listener is gone: it stays pinned and claimed until the last of its connections is gone.
  void retire(uint16_t port) noexcept;
  // What lives until the stack has decided about it, or ends.
  void keep(std::shared_ptr<event_target> t) { _kept.emplace(t.get(), std::move(t)); }
  void let_go(event_target* t) noexcept { _kept.erase(t); }
  // Shard 0: called when the address is there.
  void on_address(noncopyable_function<void(const net::address_config&)> f) { _on_address = std::move(f); }

  driver_stats& stats() noexcept { return _stats; }
  const net::queue* queue() const noexcept { return _queue; }
  void log_stats() const;

  // poller
  bool poll() override;
  bool try_enter_interrupt_mode() override;
  void exit_interrupt_mode() override;
  instant next_deadline() override;

  // Messages from other shards' drivers.
  void take_in(unsigned from, packet_chain packets) noexcept;
  void send_for(unsigned from, packet_chain packets) noexcept;
  void come_home(unsigned from, packet_chain packets) noexcept;

 private:
  void end_stack() noexcept;
  void pin_here(transport t, uint16_t port, unsigned shard, bool on) noexcept;
  bool has_port(uint16_t port) noexcept;
  void unpin_retired() noexcept;
  bool receive() noexcept;
  void steer(net::packet_list& got) noexcept;
  unsigned shard_of(const net::packet& p) const noexcept;
  template <auto Deliver>
  bool send(unsigned to, packet_chain& packets) noexcept;
  void send_messages() noexcept;
  bool has_messages() const noexcept { return _has_handover || _foreign->has_returns(); }
  void run_events() noexcept;
  void dispatch(const net::event& e) noexcept;
  void push_out() noexcept;
  void broadcast_neighbour(const net::event& e) noexcept;
  bool ready() noexcept override;
  void put(net::packet_ptr p) noexcept override;
  void loop(net::packet_ptr p) noexcept override;
  void hand_over(net::packet_ptr p, unsigned to) noexcept;

  shared_state& _shared;
  unsigned _shard;
  unsigned _shards;
  shard_memory _memory;
  net::packet_slab* _slab = nullptr;  // lost rather than freed when packets are still about at the end
  net::stack* _stack = nullptr;
  net::queue* _queue = nullptr;  // null: another shard's is used
  unsigned _owner = 0;           // whose
  bool _dirty = false;
  bool _stalled = false;  // the stack was told that there is no room: it is asked again when there is
  bool _running = false;
  bool _armed = false;
  instant _deadline = instant::never();
  net::packet_list _inbox;  // brought by other shards
  net::packet_list _out;    // of the stack, and of shards that send through our queue
  std::unique_ptr<foreign_packets> _foreign;
  size_t _abroad = 0;                   // packets of ours at _owner
  size_t _handed_over = 0;              // received packets of ours at other shards
  std::vector<packet_chain> _handover;  // by destination, of this turn
  bool _has_handover = false;
  net::port_pins _pinned;          // ports that only some shards have sockets for
  std::vector<uint16_t> _retired;  // of this shard
  std::unordered_map<event_target*, std::shared_ptr<event_target>> _kept;
  timer<lowres_clock> _retirement;
  noncopyable_function<void(const net::address_config&)> _on_address;
  driver_stats _stats;
};

}  // namespace solaster::native

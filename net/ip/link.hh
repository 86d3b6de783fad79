// The lower end of a stack: the Ethernet interface it has, the buffers that packets to be sent start in, and the queue
// of frames that wait for the host's sink.
//
// TCP is asked for segments only while the sink takes them, so what waits here is what nobody can be asked for again:
// ARP, ICMP, resets, datagrams. The queue is bounded; beyond, frames are dropped and counted.
//
// Owns: two buffer pools, queued frames. Borrows: memory, slab, stats, the sink during transmit.
// Context: shard-local; allocates only to grow a pool.
#pragma once

#include <cstdint>

#include "net/host/config.hh"
#include "net/host/interface.hh"
#include "net/host/stats.hh"
#include "net/packet/packet.hh"
#include "net/packet/pool.hh"
#include "net/wire/ethernet.hh"

namespace solaster::net {

// In front of the transport header: IPv4 (20), Ethernet (14) and 30 more for what a driver puts before the frame. 64
// leaves the transport header on a cache line of its own and the IP header aligned to 4.
inline constexpr uint32_t link_header_room = 64;
inline constexpr uint32_t link_small_buffer = 384;  // link_header_room, a full TCP header, tcp_config::copy_break_bytes
inline constexpr uint32_t link_large_buffer = 2048;

class link {
 public:
  link(const stack_config& config, memory& m, packet_slab& slab, stack_stats& stats) noexcept;
  bool valid() const noexcept { return _small && _large; }

  void set(const interface_config& config) noexcept {
    _interface = config;
    _mac_word = mac_word(config.mac);
    _present = true;
  }
  bool present() const noexcept { return _present; }
  const interface_config& interface() const noexcept { return _interface; }
  uint64_t own_mac_word() const noexcept { return _mac_word; }
  memory& host_memory() const noexcept { return _memory; }

  // One empty fragment with link_header_room before it and at least `room` bytes behind. Null: no memory.
  packet_ptr make_packet(uint32_t room) noexcept {
    packet_ptr p = _slab.make();
    if (p && room <= link_small_buffer - link_header_room) [[likely]] {
      if (fragment f = _small->allocate(link_header_room, 0)) [[likely]] {
        p->append(std::move(f));
        return p;
      }
    }
    return make_larger(std::move(p), room);
  }

  // The sink would take a frame now, and none waits here.
  bool ready() noexcept {
    if (!_sink || !_queue.empty())
      return false;
    return _room || (_room = _sink->ready());
  }
  // A complete frame, to the sink or to the queue.
  void put(packet_ptr frame) noexcept {
    if (!ready()) [[unlikely]]
      return enqueue(std::move(frame));
    _room = false;
    ++_stats.sent;
    _sink->put(std::move(frame));
  }
  // A frame with this header in front.
  void put(packet_ptr p, const ethernet_header& header) noexcept;
  // Space in the queue: datagrams are refused above, rather than dropped below.
  bool accepts() const noexcept { return _queue.size() < _config.transmit_queue_max; }
  size_t queued() const noexcept { return _queue.size(); }

  // A frame to ourselves. It waits for the next transmit, which copies it: the sender may keep what it sent.
  void loop(packet_ptr frame) noexcept;
  bool has_looped() const noexcept { return !_looped.empty(); }
  // The oldest one's copy. Null: none waits, or no memory (then it is lost, as on a wire).
  packet_ptr take_looped() noexcept;
  void hand_to_sink(packet_ptr looped) noexcept { _sink->loop(std::move(looped)); }

  // Between these the sink takes frames; begin drains the queue.
  void begin(transmit_sink& sink) noexcept;
  void end() noexcept {
    _sink = nullptr;
    _room = false;
  }

  // Between transmits.
  bool is_valid() const noexcept {
    return _small->is_valid() && _large->is_valid() && !_sink && _queue.is_valid() && _looped.is_valid() &&
           _queue.size() <= _config.transmit_queue_max && _looped.size() <= _config.loopback_queue_max;
  }

 private:
  void enqueue(packet_ptr frame) noexcept;
  packet_ptr make_larger(packet_ptr p, uint32_t room) noexcept;

  const stack_config& _config;
  memory& _memory;
  packet_slab& _slab;
  stack_stats& _stats;
  transmit_sink* _sink = nullptr;
  bool _room = false;  // the sink has said ready and not got a frame since
  bool _present = false;
  uint64_t _mac_word = 0;
  interface_config _interface;
  pool_ptr _small, _large;
  packet_list _queue;
  packet_list _looped;
};

}  // namespace solaster::net

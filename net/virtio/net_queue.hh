// One receive and one transmit virtqueue of a virtio network device, driven by one shard.
//
// Receive: single-descriptor buffers from a pool; a packet may come in several (mergeable receive buffers). Transmit: a
// chain of descriptors a packet; the packet is held until the device has read it. The packet header goes into the
// headroom of the first fragment where nobody else sees it, so that a small packet is one descriptor.
//
// Spec: Virtio 1.2, 5.1.6. Owns: rings, pool, packets under way. Context: shard-local.
// Errors: counted (queue_stats::device_errors); a ring that a lying device broke receives nothing and drops what is
// sent.
#pragma once

#include "net/device/device.hh"
#include "net/packet/pool.hh"
#include "net/virtio/split_ring.hh"

namespace solaster::net::virtio {

class net_queue final : public queue {
 public:
  struct setup {
    uint16_t pair = 0;
    uint16_t vector = no_vector;
    uint16_t rx_size = 0, tx_size = 0;  // powers of two
    uint32_t buffer_size = 2048;
    bool event_idx = false;
    bool mergeable = false;
    bool guest_checksum = false;  // the device may say that a checksum is good, or unfinished
    bool receives_large = false;
  };
  // Buffers in the pool for each one in the ring.
  static constexpr uint32_t pool_factor = 8;
  // Missing buffers are replaced in batches of this many, in small rings of half the ring.
  static constexpr uint16_t refill_batch = 16;

  net_queue(transport& t, memory& m, packet_slab& slab, const setup& s) noexcept
      : _transport(t), _memory(m), _slab(slab), _setup(s) {}
  // Only when the device is quiet (reset).
  ~net_queue() override;
  // Makes the rings, gives them to the device and fills the receive ring (the device does not start before driver_ok).
  result<> init() noexcept;
  // Tells the device about the first receive buffers. Once, after driver_ok.
  void kick_receive() noexcept { _transport.notify(rx_index()); }

  size_t receive(packet_list& into, size_t max) noexcept override;
  bool starving() const noexcept override { return _starving; }
  size_t transmit(packet_list& from) noexcept override;
  void reap() noexcept override;
  void kick() noexcept override;
  bool arm() noexcept override;
  void disarm() noexcept override;
  const queue_stats& stats() const noexcept override {
    _stats.device_errors = _own_errors + _rx.errors() + _tx.errors();
    return _stats;
  }
  uint16_t index() const noexcept { return _setup.pair; }
  bool broken() const noexcept { return _rx.broken() || _tx.broken(); }
  bool is_valid() const noexcept;

 private:
  uint16_t rx_index() const noexcept { return uint16_t(2 * _setup.pair); }
  uint16_t tx_index() const noexcept { return uint16_t(2 * _setup.pair + 1); }
  result<> init_ring(split_ring& ring, uint16_t index, uint16_t size) noexcept;
  void add_buffers() noexcept;
  void set_checksum(packet_offload& o, const net_hdr& h) const noexcept;
  packet_ptr take_whole(const split_ring::used_chain& u) noexcept;
  void start_packet(const split_ring::used_chain& u, fragment f) noexcept;
  void continue_packet(const split_ring::used_chain& u, fragment f) noexcept;
  void append_received(fragment f) noexcept;
  void drop_partial() noexcept;
  bool send(packet_ptr p) noexcept;
  bool send_pieces(packet& p, const net_hdr& h) noexcept;
  std::byte* place_header(packet& p, segment*& s) noexcept;
  bool make_reachable(packet& p, uint32_t index) noexcept;

  transport& _transport;
  memory& _memory;
  packet_slab& _slab;
  setup _setup;
  split_ring _rx, _tx;
  pool_ptr _pool;
  uint16_t _batch = 1;     // of buffers to replace
  bool _starving = false;  // the last attempt to fill the receive ring found no memory
  dma_region _headers;     // sizeof(net_hdr) for each transmit descriptor, used when the packet has no room
  packet_ptr _partial;     // a packet of which buffers are missing
  uint16_t _partial_missing = 0;
  bool _partial_bad = false;  // its buffers are taken in and thrown away
  bool _tx_full = false;      // transmit() came back short: arm() asks for completions
  uint64_t _own_errors = 0;
  mutable queue_stats _stats;
};

}  // namespace solaster::net::virtio

// The device and queue interface: what every NIC, real or simulated, offers.
//
// A `device` has one owner (shard 0's host) and speaks of the whole NIC; a `queue` (one receive and one transmit ring)
// belongs to one shard and is driven by bursts.
//
// Context: a queue: its shard only; a device: its owner. Errors: result<T>; a queue's calls cannot fail, they take
// less.
#pragma once

#include <cstdint>
#include <span>

#include "net/base/result.hh"
#include "net/packet/packet.hh"
#include "net/wire/address.hh"

namespace solaster::net {

struct device_info {
  mac_address mac;
  uint16_t mtu = 1500;  // of the IP packet
  uint16_t queue_pairs_max = 1;
  bool link_up = true;
  bool tx_checksum = false;     // completes partial checksums
  bool tso4 = false;            // cuts gso_type::tcpv4
  bool receives_large = false;  // may deliver packets larger than the MTU (GUEST_TSO4)
  bool rss = false;             // set_rss works
  uint32_t gso_max = 65535;
};

// Toeplitz key and indirection table (values are queue indices). Microsoft's "RSS hash types"; Virtio 1.2, 5.1.6.5.7.
struct rss_config {
  std::array<uint8_t, 40> key{};
  std::array<uint16_t, 128> table{};
};

struct queue_stats {
  uint64_t rx_packets = 0, rx_bytes = 0, rx_dropped = 0;
  uint64_t tx_packets = 0, tx_bytes = 0;
  uint64_t kicks = 0;          // notifications written to the device
  uint64_t copied_bytes = 0;   // payload copied because the device could not reach it
  uint64_t device_errors = 0;  // ids, lengths, indices that the device got wrong
};

class queue {
 public:
  virtual ~queue() = default;
  // Appends up to `max` received packets; returns how many. Gives the ring empty buffers for those it has used up,
  // whether or not anything good was in them.
  virtual size_t receive(packet_list& into, size_t max) noexcept = 0;
  // The ring lacks buffers because memory ran out: it may be deaf, and no interrupt says when memory is back. Whoever
  // sleeps on this queue calls receive() again after a while.
  virtual bool starving() const noexcept { return false; }
  // Takes packets from the front while there is room; returns how many. What is taken is sent or counted as dropped.
  virtual size_t transmit(packet_list& from) noexcept = 0;
  // Lets go of sent packets.
  virtual void reap() noexcept = 0;
  // Tells the device of what was added since the last kick, if it wants to be told.
  virtual void kick() noexcept = 0;
  // Asks for an interrupt at the next receive (or transmit completion if the ring was full). False: there is work
  // already, do not sleep.
  virtual bool arm() noexcept = 0;
  virtual void disarm() noexcept = 0;
  virtual const queue_stats& stats() const noexcept = 0;
};

struct queue_config {
  uint16_t index = 0;
  uint16_t rx_depth = 256;
  uint16_t tx_depth = 256;
  uint32_t buffer_size = 2048;
};

class device {
 public:
  virtual ~device() = default;
  virtual const device_info& info() const noexcept = 0;
  // How many pairs will be opened. Before the first open_queue.
  virtual result<> set_queue_pairs(uint16_t pairs) noexcept = 0;
  // The pair `config.index`, its memory from `m` (the shard's), its packets from `slab`. The device owns the queue
  // object; it dies with the device or by close_queue.
  virtual result<queue*> open_queue(const queue_config& config, memory& m, packet_slab& slab) noexcept = 0;
  // Destroys a queue and lets go of what it holds. On the queue's shard, after reset().
  virtual void close_queue(uint16_t index) noexcept { (void)index; }
  virtual result<> set_rss(const rss_config& config) noexcept = 0;
  // After the queues that exist at the start are open: traffic flows.
  virtual result<> start() noexcept = 0;
  // Quiesces: afterwards no ring or buffer is touched by the device.
  virtual void reset() noexcept = 0;
};

}  // namespace solaster::net

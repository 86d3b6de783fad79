// Two devices joined back to back: what one sends the other receives, queue by queue, in order, without loss.
//
// For unit tests and demonstrations of a stack without a NIC. The packets themselves change hands, so both sides live
// on one shard and share a packet slab. Offloads are pretended: a partial checksum arrives as `partial`, a large packet
// large.
//
// Owns: packets under way. Context: one shard. Limits: queue_config::rx_depth packets wait; then transmit takes no
// more.
#pragma once

#include "net/device/device.hh"

namespace solaster::net {

class loopback_device final : public device {
 public:
  static constexpr uint16_t pairs_max = 8;

  // Not joined yet; see join().
  loopback_device(mac_address mac, uint16_t queue_pairs, bool offloads) noexcept;
  ~loopback_device() override { reset(); }
  static void join(loopback_device& a, loopback_device& b) noexcept;

  const device_info& info() const noexcept override { return _info; }
  result<> set_queue_pairs(uint16_t pairs) noexcept override;
  result<queue*> open_queue(const queue_config& config, memory& m, packet_slab& slab) noexcept override;
  result<> set_rss(const rss_config&) noexcept override { return errc::opnotsupp; }
  result<> start() noexcept override;
  void reset() noexcept override;

 private:
  class pair final : public queue {
   public:
    size_t receive(packet_list& into, size_t max) noexcept override;
    size_t transmit(packet_list& from) noexcept override;
    void reap() noexcept override {}
    void kick() noexcept override {}
    bool arm() noexcept override { return waiting.empty(); }
    void disarm() noexcept override {}
    const queue_stats& stats() const noexcept override { return counters; }

    pair* peer = nullptr;
    bool open = false;
    size_t depth = 0;
    packet_list waiting;  // sent by the peer, not yet received
    queue_stats counters;
  };
  device_info _info;
  uint16_t _pairs = 1;
  bool _started = false;
  std::array<pair, pairs_max> _queues;
};

}  // namespace solaster::net

// A virtio network device over any transport.
//
// Order: make (reset, features) - set_queue_pairs - open_queue for each pair - start (driver_ok, then the control
// queue) - set_rss. After a failure the device is left reset.
//
// Spec: Virtio 1.2, 3.1 and 5.1. Borrows: the transport and the owner's memory. Context: its owner; open_queue runs on
// the shard that will drive the queue, one at a time.
#pragma once

#include "net/virtio/net_queue.hh"

namespace solaster::net::virtio {

struct net_device_options {
  uint64_t features_refused = 0;           // feature masks not to be taken (tests, comparisons)
  bool receive_large = false;              // take GUEST_TSO4; needs buffers of 4,096 bytes
  uint32_t control_polls_max = 2'000'000;  // how long a control command may take: `pause`s
};

class net_device final : public device {
 public:
  static constexpr uint16_t pairs_max = 64;
  static constexpr uint16_t control_size_max = 16;

  static result<net_device*> make(transport& t, memory& m, const net_device_options& options) noexcept;
  // Resets the device and frees everything.
  static void destroy(net_device* d) noexcept;

  const device_info& info() const noexcept override { return _info; }
  result<> set_queue_pairs(uint16_t pairs) noexcept override;
  result<queue*> open_queue(const queue_config& config, memory& m, packet_slab& slab) noexcept override;
  void close_queue(uint16_t index) noexcept override;
  result<> set_rss(const rss_config& config) noexcept override;
  result<> start() noexcept override;
  void reset() noexcept override;

  uint64_t features() const noexcept { return _features; }
  bool read_link_up() noexcept;
  uint64_t control_errors() const noexcept { return _control_errors; }

 private:
  net_device(transport& t, memory& m, const net_device_options& o) noexcept : _transport(t), _memory(m), _options(o) {}
  ~net_device();
  result<> negotiate() noexcept;
  result<> read_info() noexcept;
  result<> begin() noexcept;
  result<> open_control() noexcept;
  // Runs a command on the control queue and waits for the answer. io: the device refused it.
  result<> command(uint8_t class_, uint8_t number, const void* data, uint32_t length) noexcept;
  bool has(uint64_t mask) const noexcept { return (_features & mask) == mask; }

  struct opened {
    net_queue* queue = nullptr;
    memory* from = nullptr;
  };
  transport& _transport;
  memory& _memory;
  net_device_options _options;
  device_info _info;
  uint64_t _features = 0;
  uint16_t _pairs = 1;
  uint16_t _pairs_device = 1;  // max_virtqueue_pairs: where the control queue's index comes from
  bool _started = false;
  bool _ended = false;  // reset: negotiation would have to begin anew, with another object
  bool _quiet = true;   // the last reset was confirmed: the device holds no memory of ours
  split_ring _control;
  dma_region _control_page;  // command out, answer in
  uint64_t _control_errors = 0;
  std::array<opened, pairs_max> _queues{};
};

}  // namespace solaster::net::virtio

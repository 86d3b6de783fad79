// The one NIC that a program with the native stack drives: which device it is, and how its queue pairs are dealt to
// shards.
//
// Shard 0 opens it; then each shard opens its own queue (a shard beyond the number of pairs has none and uses
// another's); then shard 0 starts it. The queue of a tap is driven by the reactor's back end, those of virtio by
// interrupts that wake the shard.
//
// Owns: the device. Context: open and start: shard 0; open_queue and close_queue: each shard's own, in any order, one
// at a time (a lock sees to that, at start-up and at the end only). Errors: std::runtime_error whose text is the line
// that the user sees.
#pragma once

#include "framework/device/capture.hh"
#include "net/device/device.hh"

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace solaster {

struct nic_options;

class nic {
 public:
  virtual ~nic() = default;

  // The direct interface's NIC 0 in a guest, else the tap that the options name.
  static std::unique_ptr<nic> open(const nic_options& options, unsigned shards, net::memory& m);

  // "tap solaster0" or "virtio-net over PCI".
  const std::string& name() const noexcept { return _name; }
  virtual net::device& device() noexcept = 0;
  const net::device_info& info() noexcept { return device().info(); }
  unsigned queue_pairs() const noexcept { return _pairs; }
  // Whose queue a shard sends through: its own where it has one.
  unsigned queue_owner(unsigned shard) const noexcept { return shard % _pairs; }

  // Shards below queue_pairs(), each for itself: its queue, with interrupts bound to the shard.
  net::queue& open_queue(unsigned shard, net::memory& m, net::packet_slab& slab);
  // Traffic flows. `rss`: the table of shards; used where each shard has a queue. Returns whether the device steers by
  // it.
  bool start(const net::rss_config& rss);

 protected:
  virtual net::queue_config config_of(unsigned shard) = 0;
  // After the queue is open: have its interrupts wake the shard.
  virtual void bind_interrupts(unsigned) {}

  std::string _name;
  unsigned _pairs = 1;
  unsigned _shards = 1;
  std::mutex _lock;
  std::string _pcap;  // --pcap FILE; shard n above 0 writes FILE.n
  std::vector<std::unique_ptr<capture_queue>> _captures;
};

}  // namespace solaster

#include "framework/device/nic.hh"

#include "framework/device/options.hh"
#include "framework/device/tap.hh"
#include "framework/device/virtio.hh"
#include "framework/host/direct.hh"

#include <cstring>
#include <stdexcept>

namespace solaster {

std::unique_ptr<nic> nic::open(const nic_options& options, unsigned shards, net::memory& m) {
  if (!is_guest() && options.tap.empty()) {
    throw std::runtime_error(
        "the native network stack needs a tap device here: give --tap NAME, or --network-stack posix");
  }
  auto opened = is_guest() ? open_virtio_nic(options, shards, m) : open_tap_nic(options, shards);
  opened->_pcap = options.pcap;
  return opened;
}

net::queue& nic::open_queue(unsigned shard, net::memory& m, net::packet_slab& slab) {
  std::lock_guard guard(_lock);
  auto q = device().open_queue(config_of(shard), m, slab);
  if (!q) {
    throw std::runtime_error(_name + ": queue " + std::to_string(shard) +
                             " cannot be opened: " + std::strerror(int(q.error())));
  }
  bind_interrupts(shard);
  if (_pcap.empty()) {
    return **q;
  }
  return *_captures.emplace_back(
      std::make_unique<capture_queue>(**q, shard == 0 ? _pcap : _pcap + "." + std::to_string(shard)));
}

bool nic::start(const net::rss_config& rss) {
  if (auto done = device().start(); !done) {
    throw std::runtime_error(_name + " cannot be started: " + std::strerror(int(done.error())));
  }
  return info().rss && _pairs > 1 && _pairs == _shards && device().set_rss(rss);
}

}  // namespace solaster

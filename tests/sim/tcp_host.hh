// A simulated host that is TCP and little else: a tcp::layer, its memory and one line to the others.
//
// IP is an envelope of two addresses in front of the segment. What is sent is copied into buffers of the wire, as a NIC
// does; a host with offloads has its segments cut and summed there.
#pragma once

#include <cstdint>
#include <memory>

#include "net/device/fault.hh"
#include "net/host/config.hh"
#include "net/host/event_queue.hh"
#include "net/host/stats.hh"
#include "net/packet/pool.hh"
#include "net/tcp/layer.hh"
#include "tests/sim/memory.hh"

namespace solaster::sim {

// What lies between hosts: buffers and packets that belong to none of them.
struct wire {
  explicit wire(uint32_t buffer_size);
  ~wire();
  counted_memory home;
  net::packet_slab slab{home};
  net::pool_ptr pool;
  // A contiguous packet of `size` bytes.
  net::packet_ptr make(uint32_t size);
};

struct host_config {
  net::ip_address address;
  net::stack_config stack;
  uint16_t mtu = 1500;
  bool offload = false;         // partial checksums, and segments cut by the device
  bool trust_checksum = false;  // received packets count as checked
  bool merge = false;           // consecutive segments of a burst are handed up as one
  uint32_t tx_depth = 1024;     // packets in the line before ready() says no
  net::fault_config line;       // outwards
  uint64_t seed = 0;
};

class tcp_host final : net::tcp::ip_output {
 public:
  static constexpr uint32_t envelope = 8;

  tcp_host(const host_config& config, wire& w);
  tcp_host(const tcp_host&) = delete;
  ~tcp_host() override;

  net::tcp::layer& tcp() { return *_tcp; }
  net::packet_slab& slab() { return _slab; }
  counted_memory& home() { return _home; }
  net::event_queue& events() { return _events; }
  net::fault_line& line() { return _line; }
  const net::stack_stats& stats() const { return _stats; }
  net::ip_address address() const { return _config.address; }
  uint64_t segments() const { return _segments; }

  // As the stack does it: only within it does ready() say yes, and send() take a segment for each yes.
  void transmit(instant now);
  // Envelopes for this host.
  void deliver(net::packet_list&& burst, instant now);
  // No memory for headers: make_packet fails from now on, or no longer.
  void refuse_packets(bool on) { _refuse = on; }

  static net::ip_address destination(const net::packet& p);

 private:
  result<net::tcp::path> find_path(net::ip_address destination, net::ip_address source) noexcept override;
  net::packet_ptr make_packet(uint32_t payload_room) noexcept override;
  bool ready() noexcept override;
  void send(net::ip_address source, net::ip_address destination, net::packet_ptr segment,
            instant now) noexcept override;
  result<uint16_t> choose_port(net::ip_address local, net::endpoint remote,
                               bool (*used)(void*, const net::four_tuple&) noexcept, void* context) noexcept override;
  void emit(net::ip_address source, net::ip_address destination, const net::packet& p, uint32_t offset, uint32_t length,
            bool last, instant now);
  void input(net::packet_ptr p, instant now);
  net::packet_ptr merge(net::packet_list& burst, net::packet_ptr first);

  host_config _config;
  wire& _wire;
  counted_memory _home;
  net::packet_slab _slab{_home};
  net::event_queue _events;
  net::stack_stats _stats;
  net::fault_line _line;
  net::pool_ptr _headers;
  net::prng _random;
  std::unique_ptr<net::tcp::layer> _tcp;
  uint64_t _segments = 0;
  bool _refuse = false;
  bool _transmitting = false;
  bool _room = false;  // ready() has said yes, and no segment came since
};

}  // namespace solaster::sim

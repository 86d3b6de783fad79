// Segment scripts: what goes in at what time, and what must come out. A line of a test is one call.
//
//     script s;
//     EXPECT_EQ(s.in("S 0"), "SA 0 ack 1");           // a SYN of the peer's; what we send is the value
//     EXPECT_EQ(s.in("A 1 ack 1 +5"), "");            // 5 bytes of data; the ACK is delayed
//     EXPECT_EQ(s.after(milliseconds(40)), "A 1 ack 6");
//
// Numbers are relative to each side's initial sequence number. A segment is FLAGS SEQ [+LENGTH] [ack N] [win N], flags
// out of S F R P A; what comes out carries "win N" only when it differs from the window last seen, and events for the
// host follow in brackets: [established readable writable failed closed sent accept].
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "net/host/config.hh"
#include "net/host/event_queue.hh"
#include "net/host/stats.hh"
#include "net/packet/pool.hh"
#include "net/tcp/layer.hh"
#include "net/tcp/state.hh"
#include "tests/sim/memory.hh"

namespace solaster::drill {

struct script_config {
  script_config();
  net::stack_config stack;
  net::tcp::path path;
};

class script final : net::tcp::ip_output {
 public:
  explicit script(const script_config& config = {});
  ~script() override;

  void listen(uint32_t backlog = 8);
  std::string connect();  // the SYN that goes out
  net::tcp::connection* accept();

  // The peer's segment; what we send, and events. `cut`: its first fragment ends behind so many bytes; 0: it has one.
  std::string in(std::string_view segment, uint32_t cut = 0);
  void icmp(uint32_t quoted, errc error, bool hard, uint32_t mtu = 0);
  net::four_tuple tuple() const;
  std::string after(duration d);
  // Commands, on the connection that was opened or accepted last.
  std::string send(uint32_t bytes);
  std::string read(size_t bytes_max = SIZE_MAX);  // takes and consumes; "5 bytes", "eof", "error 104", ...
  std::string close();
  std::string abort();
  std::string release();
  std::string poll();

  net::tcp::layer& tcp() { return *_tcp; }
  sim::counted_memory& home() { return _home; }
  net::tcp::state state() const;
  const net::stack_stats& stats() const { return _stats; }

  net::tcp::connection* c = nullptr;
  net::tcp::listener* l = nullptr;
  instant now{1'000'000'000};
  // What comes out to or from another of the peer's ports is marked "@port".
  uint16_t peer_port = 5000;
  // Of the peer's SYN: 0 and -1 are none.
  uint16_t peer_mss = 1460;
  int peer_scale = -1;
  uint16_t peer_window = 60000;
  bool device_ready = true;                            // whether the device takes packets
  static constexpr uint32_t peer_iss = 4'294'967'000;  // wraps soon

 private:
  void transmit();
  result<net::tcp::path> find_path(net::ip_address destination, net::ip_address source) noexcept override;
  net::packet_ptr make_packet(uint32_t payload_room) noexcept override;
  // As link does: outside transmit() nothing is taken, and each yes is for one packet.
  bool ready() noexcept override { return _room = _transmitting && device_ready; }
  void send(net::ip_address source, net::ip_address destination, net::packet_ptr segment,
            instant now) noexcept override;
  result<uint16_t> choose_port(net::ip_address local, net::endpoint remote,
                               bool (*used)(void*, const net::four_tuple&) noexcept, void* context) noexcept override;

  script_config _config;
  sim::counted_memory _home;
  net::packet_slab _slab{_home};
  net::event_queue _events;
  net::stack_stats _stats;
  net::pool_ptr _buffers;
  net::tcp::layer* _tcp = nullptr;
  std::string _out;
  int64_t _window = -1;               // last seen
  std::map<uint16_t, uint32_t> _iss;  // ours, of the first connection with each of the peer's ports
  bool _transmitting = false;
  bool _room = false;
};

}  // namespace solaster::drill

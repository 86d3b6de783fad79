// Packets that visit a shard and go home again.
//
// A packet, its slab and its buffers belong to the shard that made them, and their counts are not atomic. So when a
// packet has to be worked on by another shard (steering in software, a shard without a queue), its address travels by
// message while nobody at home touches it. The host makes a local packet whose buffers are stand-ins for the guest's
// memory; when the last stand-in is let go, the guest's address goes back home by message, where it is freed.
//
// Owns: records and the addresses waiting to go home. Context: shard-local; adopt() reads a packet that its home does
// not touch. Limits: one record a visiting packet; records are kept for reuse.
#pragma once

#include "net/packet/packet.hh"

#include <memory>
#include <vector>

namespace solaster::native {

class foreign_packets {
 public:
  foreign_packets(net::packet_slab& slab, unsigned shards) : _slab(slab), _returns(shards) {}
  foreign_packets(const foreign_packets&) = delete;

  // Null when memory is out: the packet is on its way home then.
  net::packet_ptr adopt(net::packet* theirs, unsigned home) noexcept;
  // The same, but copied into memory of this shard: the guest goes home at once. While many visit, so that what an
  // application holds here does not starve the queue there.
  net::packet_ptr copy(net::packet* theirs, unsigned home, net::memory& m) noexcept;
  bool has_returns() const noexcept { return _waiting != 0; }
  // Those for shard `home`, taken out.
  std::vector<net::packet*> take_returns(unsigned home) noexcept;
  // Packets that are here.
  size_t visiting() const noexcept { return _visiting; }

 private:
  struct record {
    foreign_packets* host = nullptr;
    net::packet* packet = nullptr;
    unsigned home = 0;
    uint32_t live = 0;  // stand-ins that somebody refers to
    net::buffer buffers[net::packet::fragments_max];
    record* next = nullptr;
  };
  static void recycle(net::buffer* b) noexcept;
  void send_home(net::packet* p, unsigned home) noexcept;

  net::packet_slab& _slab;
  std::vector<std::vector<net::packet*>> _returns;  // by home
  size_t _waiting = 0;
  size_t _visiting = 0;
  record* _free = nullptr;
  std::vector<std::unique_ptr<record>> _records;
};

}  // namespace solaster::native

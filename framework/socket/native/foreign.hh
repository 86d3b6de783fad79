// Packets that visit a shard and go home again.
//
// A packet, its slab and its buffers belong to the shard that made them, and their counts are not atomic. So when a
// packet has to be worked on by another shard (steering in software, a shard without a queue), its address travels by
// message while nobody at home touches it. The host makes a local packet whose buffers are stand-ins for the guest's
// memory; when the last stand-in is let go, the guest's address goes back home by message, where it is freed. The
// guests themselves are linked together for that, so that none is lost when memory is out.
//
// Owns: records and the addresses waiting to go home. Context: shard-local; a packet away from home is touched by one
// shard at a time, the one that has its address. Limits: one record a visiting packet; records are kept for reuse.
#pragma once

#include "net/packet/packet.hh"

#include <memory>
#include <utility>
#include <vector>

namespace solaster::native {

// Packets on their way between shards, in order, by their intrusive link. Owns none: only their home may free them.
class packet_chain {
 public:
  packet_chain() noexcept = default;
  packet_chain(packet_chain&& o) noexcept { *this = std::move(o); }
  packet_chain& operator=(packet_chain&& o) noexcept {
    DCHECK(empty());  // those would never come home
    _first = std::exchange(o._first, nullptr);
    _last = std::exchange(o._last, nullptr);
    _size = std::exchange(o._size, 0);
    return *this;
  }
  bool empty() const noexcept { return !_first; }
  size_t size() const noexcept { return _size; }
  void push_back(net::packet* p) noexcept {
    p->next = nullptr;
    (_first ? _last->next : _first) = p;
    _last = p;
    ++_size;
  }
  // Null: that was all.
  net::packet* pop_front() noexcept {
    net::packet* p = _first;
    if (p) {
      _first = std::exchange(p->next, nullptr);
      --_size;
    }
    return p;
  }

 private:
  net::packet* _first = nullptr;
  net::packet* _last = nullptr;  // of a chain that is not empty
  size_t _size = 0;
};

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
  packet_chain take_returns(unsigned home) noexcept;
  // They could not be sent: another time.
  void put_back(unsigned home, packet_chain packets) noexcept;
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
  std::vector<packet_chain> _returns;  // by home
  size_t _waiting = 0;
  size_t _visiting = 0;
  record* _free = nullptr;
  std::vector<std::unique_ptr<record>> _records;
};

}  // namespace solaster::native

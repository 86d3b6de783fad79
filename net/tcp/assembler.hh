// Segments that came before their turn: a list ordered by sequence number, at most a configured number of them.
//
// A packet's note holds its sequence number and whether a FIN ends it. Overlaps are cut when a segment is put in,
// so that pieces never share a byte. Owns: the packets. Context: shard-local; allocates nothing.
#pragma once

#include <cstdint>

#include "net/packet/packet.hh"
#include "net/tcp/seq.hh"

namespace solaster::net::tcp {

class assembler {
 public:
  struct piece {
    seq begin;
    packet_ptr payload;  // may be empty (a FIN alone)
    bool fin = false;
  };

  bool empty() const noexcept { return !_head; }
  uint32_t size() const noexcept { return _size; }
  // Bytes pinned, by the buffers and by the packets themselves.
  uint32_t charge() const noexcept { return _charge; }
  static uint32_t charge_of(const packet& p) noexcept { return p.charge() + uint32_t(sizeof(packet)); }
  // Of the first piece. Not empty.
  seq first() const noexcept { return begin(_head); }

  // False: it was there already, or the list is full of earlier segments.
  bool insert(piece p, uint32_t segments_max) noexcept;
  // The first piece if it begins at or before `rcv_nxt`, cut so that it begins there; pieces before are dropped.
  bool take(seq rcv_nxt, piece& out) noexcept;
  void clear() noexcept;
  bool is_valid() const noexcept;

 private:
  // Of a packet that waits here, in its note.
  struct position {
    seq begin;
    bool fin;
  };
  static seq begin(const packet* p) noexcept { return p->note.get<position>().begin; }
  static bool fin(const packet* p) noexcept { return p->note.get<position>().fin; }
  static seq end(const packet* p) noexcept { return begin(p) + p->size(); }
  packet* predecessor(seq at) const noexcept;
  bool trim(piece& p, packet* previous) noexcept;
  packet_ptr unlink_after(packet* previous) noexcept;

  packet* _head = nullptr;
  packet* _tail = nullptr;
  uint32_t _size = 0;
  uint32_t _charge = 0;
};

}  // namespace solaster::net::tcp

// A line that loses, reorders, duplicates, corrupts and delays packets, by a seed: what the simulator's links and the
// tests' relay between two taps are made of.
//
// Packets go in by put() and come out by take() when their time has come; the line has no clock and sends nothing
// itself. The same seed and the same packets at the same times give the same faults. Corruption flips one bit, which
// the Internet checksum always sees (two would now and then escape it, and a test could not tell that from a bug).
// Packets are changed and copied only where they are this line's alone: whoever puts in a packet that shares memory
// with its sender copies it first. Owns: the packets in it. Borrows: memory and slab, which outlive it. Units: parts
// per million, bits per second. Context: shard-local; a duplicate allocates. Limits: queue_max packets; what comes
// beyond is dropped and counted.
#pragma once

#include <cstdint>

#include "net/base/memory.hh"
#include "net/base/prng.hh"
#include "net/base/time.hh"
#include "net/packet/packet.hh"

namespace solaster::net {

struct fault_config {
  uint32_t loss_ppm = 0;
  uint32_t reorder_ppm = 0;    // held back by up to reorder_delay_max, while later packets pass
  uint32_t duplicate_ppm = 0;  // the copy is held back likewise
  uint32_t corrupt_ppm = 0;
  duration delay{};   // of every packet
  duration jitter{};  // further delay up to this, without reordering
  duration reorder_delay_max = milliseconds(5);
  duration quantum{};            // due times are rounded up to multiples: bursts, as interrupts come; 0: not
  uint64_t bits_per_second = 0;  // 0: no limit
  uint32_t queue_max = 4096;
};

// How often each fault struck.
struct fault_counters {
  uint64_t packets = 0, bytes = 0;  // put in
  uint64_t lost = 0, reordered = 0, duplicated = 0, corrupted = 0;
  uint64_t overflowed = 0;  // the queue was full
  uint64_t delivered = 0;

  fault_counters& operator+=(const fault_counters& o) noexcept;
};

class fault_line {
 public:
  fault_line(const fault_config& config, uint64_t seed, memory& m, packet_slab& slab) noexcept
      : _config(config), _random(seed), _memory(m), _slab(slab) {}

  fault_line(const fault_line&) = delete;
  ~fault_line();

  void put(packet_ptr p, instant now) noexcept;
  // Moves out what is due; returns how many.
  size_t take(packet_list& into, instant now) noexcept;
  // When the next packet is due.
  instant next_deadline() const noexcept;

  // From now on; packets in the line keep their times.
  void set_config(const fault_config& config) noexcept { _config = config; }
  const fault_config& config() const noexcept { return _config; }
  const fault_counters& counters() const noexcept { return _counters; }
  size_t queued() const noexcept { return _queued; }

 private:
  static instant due(const packet& p) noexcept { return p.note.get<instant>(); }
  instant round_up(instant t) const noexcept;
  duration hold_back() noexcept;
  packet_ptr copy(const packet& p) noexcept;
  void corrupt(packet& p) noexcept;
  void insert_held(packet_ptr p, instant at) noexcept;

  fault_config _config;
  prng _random;
  memory& _memory;
  packet_slab& _slab;
  fault_counters _counters;
  packet_list _in_order;    // by due time, because delay never lets one pass another
  packet* _held = nullptr;  // reordered ones and copies, sorted by due time
  size_t _queued = 0;
  instant _last_due{};   // of _in_order
  instant _wire_free{};  // when the wire has sent what is in it
};

}  // namespace solaster::net

// The rings behind smp::submit_to. See smp.hh.
//
// The producer fills slots and publishes `_tail` with release; the consumer reads it with acquire. The consumer takes a
// batch and publishes `_head` with release: from then on those slots are free, and the producer, who reads `_head` with
// acquire when it finds no room, may fill them again. Each side keeps a copy of the other's index and looks again only
// when the copy does not suffice, so a turn with no traffic reads one line that nobody writes.
//
// Why no slot is overwritten before it was read: a slot is filled only while _fill - _seen_head < size, _seen_head is
// never ahead of _head, and every slot below _head was read before _head was stored.
//
// Context: one producer thread, one consumer thread per ring.
#pragma once

#include "framework/base/check.hh"
#include "framework/reactor/smp.hh"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace solaster {

class spsc_ring {
 public:
  static constexpr uint32_t size = smp::ring_size;
  static_assert((size & (size - 1)) == 0);

  // ---- producer ----
  bool has_room() noexcept {
    if (_fill - _seen_head < size) [[likely]] {
      return true;
    }
    _seen_head = _head.load(std::memory_order_acquire);  // partner: release_taken()
    return _fill - _seen_head < size;
  }
  // There must be room. Not seen by the consumer before publish().
  void push(internal::smp_message* m) noexcept {
    DCHECK(_fill - _seen_head < size);
    _slots[_fill++ % size] = m;
  }
  // True if there was something to publish.
  bool publish() noexcept {
    if (_fill == _published) {
      return false;
    }
    _published = _fill;
    _tail.store(_fill, std::memory_order_release);  // partner: count_readable()
    return true;
  }
  // Whether something published was not taken yet.
  bool is_unread() noexcept {
    if (_published == _seen_head) {
      return false;
    }
    _seen_head = _head.load(std::memory_order_acquire);  // partner: release_taken()
    return _published != _seen_head;
  }

  // ---- consumer ----
  // How many there are to take: at least this many.
  uint32_t count_readable() noexcept {
    if (_next == _seen_tail) {
      _seen_tail = _tail.load(std::memory_order_acquire);  // partner: publish()
    }
    return _seen_tail - _next;
  }
  // One must be readable.
  internal::smp_message* take() noexcept {
    DCHECK(_next != _seen_tail);
    internal::smp_message* m = _slots[_next++ % size];
    if (_next != _seen_tail) {
      __builtin_prefetch(_slots[_next % size]);
    }
    return m;
  }
  // The slots of what was taken are free again.
  void release_taken() noexcept { _head.store(_next, std::memory_order_release); }  // partner: has_room(), is_unread()

  // Context: neither side is at work.
  bool is_valid() const noexcept {
    uint32_t head = _head.load(), tail = _tail.load();
    return tail == _published && _fill - head <= size && _published - head <= size && _seen_tail - head <= size &&
           _next - head <= _seen_tail - head && head - _seen_head <= size;
  }

 private:
  // the producer's line
  alignas(64) std::atomic<uint32_t> _tail{0};
  uint32_t _fill = 0;
  uint32_t _published = 0;
  uint32_t _seen_head = 0;
  // the consumer's line
  alignas(64) std::atomic<uint32_t> _head{0};
  uint32_t _next = 0;
  uint32_t _seen_tail = 0;
  alignas(64) std::array<internal::smp_message*, size> _slots;
};

// One direction of one lane: a ring, and at its producer what found no room in it.
class smp_pipe {
 public:
  // ---- producer ----
  void send(internal::smp_message* m) noexcept {
    if (_waiting.empty() && _ring.has_room()) [[likely]] {
      _ring.push(m);
    } else {
      _waiting.push_back(m);
    }
  }
  // Fills the ring from what waits, and publishes. True if there was something to publish.
  bool flush() noexcept {
    while (!_waiting.empty() && _ring.has_room()) {
      _ring.push(static_cast<internal::smp_message*>(_waiting.pop_front()));
    }
    return _ring.publish();
  }
  bool has_backlog() const noexcept { return !_waiting.empty(); }
  bool is_unread() noexcept { return _ring.is_unread(); }

  // ---- consumer ----
  spsc_ring& ring() noexcept { return _ring; }

 private:
  spsc_ring _ring;
  alignas(64) task_queue _waiting;
};

// From one shard to another.
struct smp_channel {
  struct lane {
    smp_pipe requests;  // origin to destination
    smp_pipe replies;   // destination to origin
  };
  static constexpr unsigned lane_count = 2;
  lane lanes[lane_count];
  lane& of(internal::smp_lane l) noexcept { return lanes[unsigned(l)]; }
};

// All channels of the program, and what one shard does with its own.
class smp_queues {
 public:
  smp_queues(unsigned shards, unsigned self, std::vector<std::unique_ptr<smp_channel>>& all);

  void send(shard_id to, internal::smp_message* m) noexcept {
    m->origin = _self, _out[to]->of(m->lane).requests.send(m);
  }
  void reply(internal::smp_message* m) noexcept { _in[m->origin]->of(m->lane).replies.send(m); }
  // Takes in replies and runs requests, publishes what was queued and wakes who sleeps. True if anything came or went.
  bool poll() noexcept;
  // Publishes only. True if anything was.
  bool flush() noexcept;
  // Nothing to take in. The shard's last look before it sleeps.
  bool nothing_came() noexcept;
  // Something waits for room at the other end: nobody says when there is some, so the shard looks again soon.
  bool has_backlog() noexcept;
  // Asks every shard that has not read what it was sent to give way to it: this shard will not look again by itself.
  void press_unread() noexcept;

 private:
  bool take_replies(smp_pipe& replies) noexcept;
  bool run_requests(smp_pipe& requests) noexcept;
  bool is_unread(unsigned other) noexcept;
  template <typename Func>
  void for_each_other(Func f) noexcept {
    for (unsigned other = 0; other < _out.size(); ++other) {
      if (other != _self) {
        f(other);
      }
    }
  }

  const unsigned _self;
  std::vector<smp_channel*> _out;      // by destination; null for self
  std::vector<smp_channel*> _in;       // by origin
  std::vector<int64_t> _unread_since;  // by destination: when it was sent something that it has not read, 0 for never
};

}  // namespace solaster

// The rings behind smp::submit_to. See smp.hh.
//
// The producer fills slots and publishes `_tail` with release; the consumer reads it with acquire. The consumer keeps a
// copy of the tail and looks again only when it has taken everything, so a turn with no traffic reads one line that
// nobody writes.
//
// Why no slot is overwritten before it was read, though the producer never looks at how far the consumer is: a message
// counts as under way from its push into `requests` until its pop from `replies`, and at most ring_size are. Both rings
// are popped in order. If requests slot i is unread, so are all after it, and all of them are under way: fewer than
// ring_size, so i + size was not pushed. The same holds for replies. That a slot was read happens before its reuse: for
// `requests` the read precedes the reply, which the origin takes in before it counts the message out; for `replies` the
// read precedes the next request, which the destination takes in before it replies to it.
//
// Context: one producer thread, one consumer thread per ring.
#pragma once

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
  // Not seen by the consumer before publish().
  void push(internal::smp_message* m) noexcept { _slots[_fill++ % size] = m; }
  // True if there was something to publish.
  bool publish() noexcept {
    if (_fill == _published) {
      return false;
    }
    _published = _fill;
    _tail.store(_fill, std::memory_order_release);  // partner: empty()
    return true;
  }

  // ---- consumer ----
  bool empty() noexcept {
    if (_next != _seen_tail) {
      return false;
    }
    _seen_tail = _tail.load(std::memory_order_acquire);  // partner: publish()
    return _next == _seen_tail;
  }
  // Must not be empty.
  internal::smp_message* pop() noexcept { return _slots[_next++ % size]; }

 private:
  // the producer's line
  alignas(64) std::atomic<uint32_t> _tail{0};
  uint32_t _fill = 0;
  uint32_t _published = 0;
  // the consumer's line
  alignas(64) uint32_t _next = 0;
  uint32_t _seen_tail = 0;
  alignas(64) std::array<internal::smp_message*, size> _slots;
};

// From one shard to another.
struct smp_channel {
  spsc_ring requests;  // origin to destination
  spsc_ring replies;   // destination to origin

  // The origin's own: messages that found no room, and how many are between send and reply.
  alignas(64) task_queue waiting;
  uint32_t under_way = 0;
};

// All channels of the program, and what one shard does with its own.
class smp_queues {
 public:
  smp_queues(unsigned shards, unsigned self, std::vector<std::unique_ptr<smp_channel>>& all);

  void send(shard_id to, internal::smp_message* m) noexcept;
  void reply(internal::smp_message* m) noexcept;
  // Takes in requests and replies, publishes what was queued and wakes who sleeps. True if anything came.
  bool poll() noexcept;
  // Publishes only. True if anything was.
  bool flush() noexcept;
  // Nothing to take in. The shard's last look before it sleeps.
  bool nothing_came() noexcept;

 private:
  bool take_replies(smp_channel& c) noexcept;

  const unsigned _self;
  std::vector<smp_channel*> _out;  // by destination; null for self
  std::vector<smp_channel*> _in;   // by origin
};

}  // namespace solaster

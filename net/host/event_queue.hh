// Events waiting for the host, at most one per object (event.hh).
//
// Whoever can be the subject of an event holds an `event_source`; posting links it, further bits gather in it. The
// queue owns nothing: a source is removed before it dies (its destructor does).
//
// Context: shard-local, allocates nothing; all calls are constant time.
#pragma once

#include <cstdint>
#include <utility>

#include "net/base/check.hh"
#include "net/host/event.hh"

namespace solaster::net {

class event_queue;

class event_source {
 public:
  event_source(event_kind kind, void* object) noexcept : _kind(kind), _object(object) {}
  event_source(const event_source&) = delete;
  inline ~event_source();

  event_kind kind() const noexcept { return _kind; }
  void* object() const noexcept { return _object; }
  bool queued() const noexcept { return _queue != nullptr; }
  uint32_t bits() const noexcept { return _bits; }  // posted and not yet polled

  void* cookie = nullptr;  // the host's

 private:
  friend class event_queue;
  event_queue* _queue = nullptr;  // set while linked
  event_source* _next = nullptr;
  event_source* _previous = nullptr;
  uint32_t _bits = 0;
  event_kind _kind;
  void* _object;
};

class event_queue {
 public:
  event_queue() noexcept = default;
  event_queue(const event_queue&) = delete;
  ~event_queue() {
    while (!empty())
      pop();
  }

  bool empty() const noexcept { return !_head; }
  void post(event_source& s, uint32_t bits) noexcept {
    s._bits |= bits;
    if (s._queue)
      return;
    s._queue = this;
    s._next = nullptr;
    s._previous = _tail;
    (_tail ? _tail->_next : _head) = &s;
    _tail = &s;
  }
  void remove(event_source& s) noexcept {
    s._bits = 0;
    if (!s._queue)
      return;
    DCHECK(s._queue == this);
    (s._previous ? s._previous->_next : _head) = s._next;
    (s._next ? s._next->_previous : _tail) = s._previous;
    s._queue = nullptr;
  }
  // The oldest source and its bits; {nullptr, 0}: none waits.
  std::pair<event_source*, uint32_t> pop() noexcept {
    event_source* s = _head;
    if (!s)
      return {nullptr, 0};
    const uint32_t bits = s->_bits;
    remove(*s);
    return {s, bits};
  }
  bool is_valid() const noexcept {
    const event_source* previous = nullptr;
    for (const event_source* s = _head; s; previous = s, s = s->_next)
      if (s->_queue != this || s->_previous != previous)
        return false;
    return previous == _tail;
  }

 private:
  event_source* _head = nullptr;
  event_source* _tail = nullptr;
};

inline event_source::~event_source() {
  if (_queue)
    _queue->remove(*this);
}

}  // namespace solaster::net

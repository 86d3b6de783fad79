// A split virtqueue with event index, from the driver's side.
//
// Three areas of memory are shared with a device that may write anything anywhere in them at any time. So the driver's
// own knowledge (free descriptors, what each chain holds) lies in private memory; from the shared areas only three
// values are read: the used index, used elements, and the event field. Each is read once into a local and checked
// before it is used. An index or id that cannot be right breaks the ring: it stops for good (until the device is
// reset), counts one error, and touches nothing more. A length that is too large is one error of its own and is cut.
//
// Three barriers order the two sides (Virtio 1.2, 2.7.13.3, 2.7.13.4, 2.7.14); they stand as functions below:
//   publish_index    all of a chain is visible before the index that hands it over       (partner: the device's read of
//   idx) fence_before_look  our index (or our event field) is visible before we look at theirs (partner: the device's
//   same fence) read_index       nothing behind the other side's index is read before that index     (partner: the
//   device's publication)
//
// Spec: Virtio 1.2, 2.7. Owns: its memory. Context: shard-local. Limits: ring_size_max.
#pragma once

#include "net/base/check.hh"
#include "net/base/memory.hh"
#include "net/base/result.hh"
#include "net/virtio/transport.hh"

namespace solaster::net::virtio {

// One contiguous piece for a descriptor.
struct segment {
  dma_addr addr;
  uint32_t length = 0;
};

class split_ring {
 public:
  struct used_chain {
    void* token = nullptr;
    uint16_t head = 0;
    uint32_t length = 0;  // bytes the device says it wrote; at most what it was given
    bool lied = false;    // it said more
  };

  split_ring() noexcept = default;
  split_ring(const split_ring&) = delete;
  ~split_ring() { release(); }

  // `size`: a power of two. nomem.
  result<> init(memory& m, uint16_t size, bool event_idx) noexcept;
  void release() noexcept;
  queue_addresses addresses() const noexcept;

  uint16_t size() const noexcept { return _size; }
  uint16_t free_count() const noexcept { return _free_count; }
  // Chains the device holds.
  uint16_t outstanding() const noexcept { return uint16_t(_avail_idx - _last_used); }
  bool broken() const noexcept { return _broken; }
  uint64_t errors() const noexcept { return _errors; }
  // The head that the next add() will use. Only with free descriptors.
  uint16_t next_head() const noexcept { return _free_head; }

  // Adds a chain: first `out` segments that the device reads, then `in` that it writes. Needs out + in free descriptors
  // (at least one). It is the device's with the next publish().
  void add(const segment* segments, unsigned out, unsigned in, void* token) noexcept {
    CHECK(token && out + in > 0 && out + in <= _free_count);
    uint16_t head = _free_head, i = head;
    uint32_t writable = 0;
    for (unsigned n = 0;; ++n) {
      uint16_t next = _slots[i].next;
      bool last = n + 1 == out + in, write = n >= out;
      if (write)
        writable += segments[n].length;
      _desc[i] = {segments[n].addr.value, segments[n].length,
                  uint16_t((last ? 0 : desc_f_next) | (write ? desc_f_write : 0)), next};
      if (last) {
        _free_head = next;
        break;
      }
      i = next;
    }
    slot& s = _slots[head];
    s.token = token;
    s.writable = writable;
    s.count = uint16_t(out + in);
    s.tail = i;
    _free_count -= uint16_t(out + in);
    _avail->ring[_avail_idx & _mask] = head;
    ++_avail_idx;
  }

  // The same for one segment: what most packets are.
  void add_one(segment s, bool device_writes, void* token) noexcept {
    CHECK(_free_count > 0);
    uint16_t i = _free_head;
    slot& mine = _slots[i];
    _free_head = mine.next;
    --_free_count;
    _desc[i] = {s.addr.value, s.length, device_writes ? desc_f_write : uint16_t(0), 0};
    mine.token = token;
    mine.writable = device_writes ? s.length : 0;
    mine.count = 1;
    mine.tail = i;
    _avail->ring[_avail_idx & _mask] = i;
    ++_avail_idx;
  }

  void publish() noexcept {
    if (_published == _avail_idx)
      return;
    publish_index(&_avail->idx, _avail_idx);
    _published = _avail_idx;
  }

  // Whether the device wants to be told of what was published since the last time this was asked.
  bool needs_kick() noexcept {
    if (_kicked == _published || _broken)
      return false;
    fence_before_look();
    uint16_t before = _kicked;
    _kicked = _published;
    if (!_event_idx)
      return !(read_once(&_used->flags) & used_f_no_notify);
    return passes_event(read_once(avail_event()), _published, before);
  }

  // The next finished chain, its descriptors free again.
  bool take_used(used_chain& out) noexcept {
    if (_last_used == _used_seen && !look_for_used())
      return false;
    // SAFETY: shared with the device; each field is read once.
    volatile ring_used_elem* e = &_used->ring[_last_used & _mask];
    uint32_t id = e->id, length = e->len;
    if (id >= _size || !_slots[id].token) [[unlikely]]
      return give_up();
    slot& s = _slots[id];
    out = {s.token, uint16_t(id), length, false};
    if (length > s.writable) [[unlikely]] {
      out.length = s.writable;
      out.lied = s.writable != 0;  // some devices report the bytes they read: harmless
      _errors += out.lied;
    }
    free_chain(uint16_t(id));
    ++_last_used;
    return true;
  }
  bool has_used() const noexcept {
    return !_broken && (_last_used != _used_seen || read_once(&_used->idx) != _last_used);
  }

  // Asks for an interrupt when `more` chains beyond those taken are used (1: the next). False: that many are there
  // already.
  bool arm(uint16_t more) noexcept {
    if (_broken)
      return true;
    if (_event_idx) {
      write_once(used_event(), uint16_t(_last_used + more - 1));
    } else {
      write_once(&_avail->flags, uint16_t(0));
    }
    fence_before_look();
    return uint16_t(read_once(&_used->idx) - _last_used) < more;
  }
  // No interrupt, please. With the event index a stale wish may still be met once in 65,536 chains.
  void disarm() noexcept {
    if (_event_idx) {
      write_once(used_event(), uint16_t(_last_used - 1));
    } else {
      write_once(&_avail->flags, avail_f_no_interrupt);
    }
  }

  // Any chain the device still holds, taken back; null: none. Only when the device is quiet (after its reset).
  void* take_back() noexcept;
  // The device may still write here: the memory is never given back.
  void abandon() noexcept {
    _broken = true;
    _memory = nullptr;
  }
  bool is_valid() const noexcept;

 private:
  struct slot {
    void* token = nullptr;  // of a chain's head while the device holds it
    uint32_t writable = 0;  // head: bytes that the device may write
    uint16_t next = 0;      // the next of the chain or of the free list
    uint16_t tail = 0;      // head: its chain's last descriptor
    uint16_t count = 0;     // head: descriptors
  };

  // SAFETY: the shared areas are ordinary memory that another agent changes: volatile keeps each access single, the
  // __atomic builtins order them.
  static uint16_t read_once(const volatile uint16_t* p) noexcept { return *p; }
  static void write_once(volatile uint16_t* p, uint16_t v) noexcept { *p = v; }
  static void publish_index(uint16_t* p, uint16_t v) noexcept { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
  static void fence_before_look() noexcept { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
  static uint16_t read_index(const uint16_t* p) noexcept { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

  // SAFETY: 2.7.8: the event field stands behind the ring's last element, in the region that init() has measured.
  volatile uint16_t* used_event() noexcept { return &_avail->ring[_size]; }
  volatile uint16_t* avail_event() noexcept { return reinterpret_cast<uint16_t*>(&_used->ring[_size]); }

  void free_chain(uint16_t head) noexcept {
    slot& s = _slots[head];
    s.token = nullptr;
    _slots[s.tail].next = _free_head;
    _free_head = head;
    _free_count += s.count;
  }
  bool look_for_used() noexcept {
    if (_broken)
      return false;
    uint16_t idx = read_index(&_used->idx);
    if (idx == _last_used)
      return false;
    if (uint16_t(idx - _last_used) > uint16_t(_published - _last_used)) [[unlikely]]
      return give_up();
    _used_seen = idx;
    return true;
  }
  bool give_up() noexcept {
    _broken = true;
    ++_errors;
    _used_seen = _last_used;
    return false;
  }

  ring_desc* _desc = nullptr;
  ring_avail* _avail = nullptr;
  ring_used* _used = nullptr;
  slot* _slots = nullptr;
  uint16_t _size = 0, _mask = 0;
  uint16_t _free_head = 0;  // first of the _free_count free descriptors, linked by slot.next
  uint16_t _free_count = 0;
  uint16_t _avail_idx = 0;  // chains added, modulo 2^16
  uint16_t _published = 0;  // of these, those the device can see
  uint16_t _kicked = 0;     // of these, those that needs_kick has answered for
  uint16_t _last_used = 0;  // chains taken back
  uint16_t _used_seen = 0;  // chains known to be used; [_last_used, _used_seen) wait here
  bool _event_idx = false;
  bool _broken = false;
  uint64_t _errors = 0;
  memory* _memory = nullptr;
  dma_region _region;
};

}  // namespace solaster::net::virtio

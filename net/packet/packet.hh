// A packet: a chain of counted fragments and what the device said or shall do about it.
//
// Packets are objects of a slab (`packet_slab`), handled through the owning pointer `packet_ptr`; an intrusive link
// makes lists of them (bursts, queues) free. The first fragment of a packet to be sent has headroom for the headers
// below.
//
// Limits: packet::fragments_max fragments; whoever builds a larger packet cuts it.
// Context: shard-local. Errors: packet_slab::make returns null when memory is out.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>

#include "net/packet/buffer.hh"

namespace solaster::net {

class packet_slab;

enum class checksum_state : uint8_t {
  none,     // receive: not checked; send: complete, nothing to do
  valid,    // receive: the device checked the transport checksum
  partial,  // receive: pseudo-header sum only (from a sender on the same host), data is good; send: the device
            // completes it
};
enum class gso_type : uint8_t { none, tcpv4, tcpv6, udp };

struct packet_offload {
  checksum_state checksum = checksum_state::none;
  gso_type gso = gso_type::none;
  uint16_t checksum_start = 0;   // send, partial: from the start of the packet
  uint16_t checksum_offset = 0;  // send, partial: of the field, from checksum_start
  uint16_t gso_size = 0;         // payload bytes a segment
  uint16_t header_length = 0;    // send, gso: all headers up to the payload
  bool looped = false;           // receive: sent by this host to itself; no device says so
};

// What whoever holds a packet keeps in it: one value, of a type that nobody else uses for it. Reading another type than
// was written last is a bug, which debug builds tell.
class packet_note {
 public:
  static constexpr size_t size_max = 16;
  template <class T>
  void set(const T& value) noexcept {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= size_max && alignof(T) <= alignof(uint64_t));
    std::memcpy(_bytes, &value, sizeof value);
    mark(&kind<T>);
  }
  template <class T>
  T get() const noexcept {
    DCHECK(_kind == &kind<T>);
    T value;
    std::memcpy(&value, _bytes, sizeof value);
    return value;
  }
  void clear() noexcept { mark(nullptr); }

 private:
  template <class T>
  static constexpr char kind = 0;
  alignas(uint64_t) std::byte _bytes[size_max];
#if defined(SOLASTER_DEBUG) && SOLASTER_DEBUG
  void mark(const char* k) noexcept { _kind = k; }
  const char* _kind = nullptr;
#else
  void mark(const char*) noexcept {}
#endif
};

class packet {
 public:
  static constexpr uint32_t fragments_max = 20;

  uint32_t size() const noexcept { return _size; }
  uint32_t fragment_count() const noexcept { return _count; }
  fragment& frag(uint32_t i) noexcept {
    DCHECK(i < _count);
    return _fragments[i];
  }
  const fragment& frag(uint32_t i) const noexcept {
    DCHECK(i < _count);
    return _fragments[i];
  }
  fragment& front() noexcept { return frag(0); }
  const fragment& front() const noexcept { return frag(0); }
  bool full() const noexcept { return _count == fragments_max; }

  void append(fragment f) noexcept {
    CHECK(!full());
    _size += f.size();
    _fragments[_count++] = std::move(f);
  }
  void push_front(fragment f) noexcept {
    CHECK(!full());
    for (uint32_t i = _count; i-- > 0;)
      _fragments[i + 1] = std::move(_fragments[i]);
    _size += f.size();
    _fragments[0] = std::move(f);
    ++_count;
  }
  // Grows the first fragment into its headroom; returns its new first byte.
  std::byte* prepend(uint32_t n) noexcept {
    front().prepend(n);
    _size += n;
    return front().data();
  }
  // Grows the last fragment into its tailroom; returns the first new byte.
  std::byte* extend(uint32_t n) noexcept {
    fragment& last = frag(_count - 1);
    std::byte* at = last.data() + last.size();
    last.append(n);
    _size += n;
    return at;
  }
  // Drops bytes from the front or the end, with the fragments that become empty (a packet keeps at least one).
  void trim_front(uint32_t n) noexcept {
    DCHECK(n <= _size);
    _size -= n;
    uint32_t drop = 0;
    while (drop + 1 < _count && n >= _fragments[drop].size())
      n -= _fragments[drop++].size();
    if (n)
      _fragments[drop].trim_front(n);
    if (drop)
      remove_first(drop);
  }
  // The same for bytes that lie in the first fragment, which may become empty.
  void strip(uint32_t n) noexcept {
    front().trim_front(n);
    _size -= n;
  }
  void truncate(uint32_t size) noexcept {
    DCHECK(size <= _size);
    while (_count > 1 && _size - _fragments[_count - 1].size() >= size) {
      _size -= _fragments[--_count].size();
      _fragments[_count].reset();
    }
    if (_count)
      _fragments[_count - 1].truncate(_fragments[_count - 1].size() - (_size - size));
    _size = size;
  }
  // Moves fragment 0 out.
  fragment pop_front() noexcept {
    fragment f = std::move(front());
    _size -= f.size();
    remove_first(1);
    return f;
  }
  // Bytes pinned: the sum of the charges of the buffers.
  uint32_t charge() const noexcept {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < _count; ++i)
      sum += _fragments[i].owner()->charge;
    return sum;
  }
  // The size is the sum of the fragments', each of which lies in its buffer; behind the last there is none.
  bool is_valid() const noexcept {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < fragments_max; ++i) {
      const fragment& f = _fragments[i];
      if (bool(f) != (i < _count) || !f.is_valid())
        return false;
      sum += f.size();
    }
    return sum == _size && _slab;
  }
  void clear() noexcept {
    for (uint32_t i = 0; i < _count; ++i)
      _fragments[i].reset();
    _count = 0;
    _size = 0;
    offload = {};
    note.clear();
  }

  packet_offload offload;
  packet_note note;
  packet* next = nullptr;  // for whoever holds the packet

 private:
  friend class packet_slab;
  friend struct packet_deleter;
  void remove_first(uint32_t n) noexcept {
    for (uint32_t i = 0; i + n < _count; ++i)
      _fragments[i] = std::move(_fragments[i + n]);
    for (uint32_t i = _count - n; i < _count; ++i)
      _fragments[i].reset();
    _count -= n;
  }
  packet_slab* _slab = nullptr;
  uint32_t _count = 0;
  uint32_t _size = 0;
  std::array<fragment, fragments_max> _fragments;
};

struct packet_deleter {
  inline void operator()(packet* p) const noexcept;
};
using packet_ptr = std::unique_ptr<packet, packet_deleter>;

// Packets of one shard. Freed packets are kept for reuse; the slab must outlive them.
class packet_slab {
 public:
  explicit packet_slab(memory& m) noexcept : _memory(m) {}
  packet_slab(const packet_slab&) = delete;
  ~packet_slab() {
    CHECK(_live == 0);
    while (packet* p = _free) {
      _free = p->next;
      p->~packet();
      _memory.deallocate(p, sizeof(packet), alignof(packet));
    }
  }
  packet_ptr make() noexcept {
    packet* p = _free;
    if (p) {
      _free = p->next;
    } else {
      void* raw = _memory.allocate(sizeof(packet), alignof(packet));
      if (!raw)
        return nullptr;
      p = new (raw) packet;
      p->_slab = this;
    }
    p->next = nullptr;
    ++_live;
    return packet_ptr(p);
  }
  // Not inlined: each function that takes a packet_ptr ends with a destructor that nearly always finds it empty.
  [[gnu::noinline]] void free(packet* p) noexcept {
    p->clear();
    p->next = _free;
    _free = p;
    --_live;
  }
  size_t live() const noexcept { return _live; }

 private:
  memory& _memory;
  packet* _free = nullptr;
  size_t _live = 0;
};

inline void packet_deleter::operator()(packet* p) const noexcept {
  p->_slab->free(p);
}

// A first-in first-out list of packets by their intrusive link. Owns them.
class packet_list {
 public:
  packet_list() noexcept = default;
  packet_list(packet_list&& o) noexcept { swap(o); }
  packet_list& operator=(packet_list&& o) noexcept {
    packet_list t(std::move(o));
    swap(t);
    return *this;
  }
  ~packet_list() {
    while (pop_front()) {
    }
  }
  bool empty() const noexcept { return !_head; }
  size_t size() const noexcept { return _size; }
  packet* front() noexcept { return _head; }
  const packet* front() const noexcept { return _head; }
  void push_back(packet_ptr p) noexcept {
    packet* raw = p.release();
    raw->next = nullptr;
    if (_head)
      _tail->next = raw;
    else
      _head = raw;
    _tail = raw;
    ++_size;
  }
  void push_front(packet_ptr p) noexcept {
    packet* raw = p.release();
    raw->next = _head;
    if (!_head)
      _tail = raw;
    _head = raw;
    ++_size;
  }
  packet_ptr pop_front() noexcept {
    packet* p = _head;
    if (p) {
      _head = p->next;
      p->next = nullptr;
      --_size;
    }
    return packet_ptr(p);
  }
  void append(packet_list&& o) noexcept {
    if (o.empty())
      return;
    if (_head)
      _tail->next = o._head;
    else
      _head = o._head;
    _tail = o._tail;
    _size += o._size;
    o._head = o._tail = nullptr;
    o._size = 0;
  }
  bool is_valid() const noexcept {
    size_t n = 0;
    const packet* last = nullptr;
    for (const packet* p = _head; p && n <= _size; last = p, p = p->next)
      ++n;
    return n == _size && last == (_head ? _tail : nullptr);
  }
  void swap(packet_list& o) noexcept {
    std::swap(_head, o._head);
    std::swap(_tail, o._tail);
    std::swap(_size, o._size);
  }

 private:
  packet* _head = nullptr;
  packet* _tail = nullptr;
  size_t _size = 0;
};

}  // namespace solaster::net

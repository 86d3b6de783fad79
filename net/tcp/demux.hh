// From a four-tuple to its flow: a chained hash table, keyed so that a stranger cannot choose collisions.
//
// Borrows: the flows. Context: shard-local; allocates to grow. Errors: insert says false when there is no table at all.
#pragma once

#include <bit>
#include <cstdint>

#include "net/base/memory.hh"
#include "net/base/siphash.hh"
#include "net/tcp/flow.hh"

namespace solaster::net::tcp {

class demux {
 public:
  demux(memory& m, hash_key key) noexcept : _memory(m), _key(key) {}
  demux(const demux&) = delete;
  ~demux() { release(_table, _mask); }

  flow* find(const flow_key& key) const noexcept {
    const uint32_t h = hash(key);
    for (flow* f = _table[h & _mask]; f; f = f->hash_next) {
      if (f->key == key) {
        return f;
      }
    }
    return nullptr;
  }
  void insert(flow* f) noexcept {
    DCHECK(!f->in_table);
    if (_size > _mask) {
      grow();
    }
    f->hash = hash(f->key);
    flow*& bucket = _table[f->hash & _mask];
    f->hash_next = bucket;
    bucket = f;
    f->in_table = true;
    ++_size;
  }
  void remove(flow* f) noexcept {
    DCHECK(f->in_table);
    flow** at = &_table[f->hash & _mask];
    while (*at != f) {
      at = &(*at)->hash_next;
    }
    *at = f->hash_next;
    f->in_table = false;
    --_size;
  }
  uint32_t size() const noexcept { return _size; }

  bool is_valid() const noexcept {
    uint32_t count = 0;
    for (uint32_t i = 0; i <= _mask; ++i) {
      for (const flow* f = _table[i]; f; f = f->hash_next) {
        if (!f->in_table || f->hash != hash(f->key) || (f->hash & _mask) != i || ++count > _size) {
          return false;
        }
      }
    }
    return count == _size;
  }

  template <class F>
  void for_each(F&& visit) const noexcept {
    for (uint32_t i = 0; i <= _mask; ++i) {
      for (flow* f = _table[i]; f; f = f->hash_next) {
        visit(f);
      }
    }
  }

 private:
  static constexpr uint32_t initial_buckets = 64;

  uint32_t hash(const flow_key& key) const noexcept { return uint32_t(keyed_mix(_key, key.addresses, key.ports)); }

  // Doubles the table; without memory the chains just get longer.
  void grow() noexcept {
    const uint32_t buckets = (_mask + 1) * 2;
    auto** table = static_cast<flow**>(_memory.allocate(buckets * sizeof(flow*), alignof(flow*)));
    if (!table) {
      return;
    }
    for (uint32_t i = 0; i < buckets; ++i) {
      table[i] = nullptr;
    }
    for (uint32_t i = 0; i <= _mask; ++i) {
      for (flow* f = _table[i]; f;) {
        flow* next = f->hash_next;
        flow*& bucket = table[f->hash & (buckets - 1)];
        f->hash_next = bucket;
        bucket = f;
        f = next;
      }
    }
    release(_table, _mask);
    _table = table;
    _mask = buckets - 1;
  }
  void release(flow** table, uint32_t mask) noexcept {
    if (table != _first) {
      _memory.deallocate(table, (mask + 1) * sizeof(flow*), alignof(flow*));
    }
  }

  memory& _memory;
  hash_key _key;
  flow* _first[initial_buckets] = {};
  flow** _table = _first;
  uint32_t _mask = initial_buckets - 1;
  uint32_t _size = 0;
};

}  // namespace solaster::net::tcp

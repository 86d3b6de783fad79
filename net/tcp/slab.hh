// Objects of one type on a free list: connections, half-open and TIME-WAIT entries come and go by the thousand.
//
// As many freed objects are kept as live, and `keep` more; the rest goes back to the memory.
// Owns: the free ones. Context: shard-local; allocates when the list is empty. Errors: null: no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "net/base/check.hh"
#include "net/base/memory.hh"

namespace solaster::net::tcp {

template <class T>
class slab {
 public:
  slab(memory& m, uint32_t keep) noexcept : _memory(m), _keep(keep) {}
  slab(const slab&) = delete;
  ~slab() {
    CHECK(_live == 0);
    while (void* p = pop()) {
      _memory.deallocate(p, sizeof(T), alignof(T));
    }
  }

  template <class... Args>
  T* make(Args&&... args) noexcept {
    void* raw = pop();
    if (!raw) {
      raw = _memory.allocate(sizeof(T), alignof(T));
    }
    if (!raw) {
      return nullptr;
    }
    ++_live;
    return new (raw) T(std::forward<Args>(args)...);
  }
  void destroy(T* t) noexcept {
    t->~T();
    --_live;
    _free = new (static_cast<void*>(t)) node{_free};
    ++_kept;
    // One comes and the limit sinks by one: two go at most.
    while (_kept > _live + _keep) {
      _memory.deallocate(pop(), sizeof(T), alignof(T));
    }
  }
  uint32_t live() const noexcept { return _live; }
  bool is_valid() const noexcept {
    uint32_t kept = 0;
    for (const node* n = _free; n && kept <= _kept; n = n->next) {
      ++kept;
    }
    return kept == _kept;
  }

 private:
  struct node {
    node* next;
  };
  static_assert(sizeof(T) >= sizeof(node));

  void* pop() noexcept {
    node* n = _free;
    if (n) {
      _free = n->next;
      --_kept;
    }
    return n;
  }

  memory& _memory;
  node* _free = nullptr;
  uint32_t _keep;
  uint32_t _kept = 0;
  uint32_t _live = 0;
};

}  // namespace solaster::net::tcp

// Doubly linked intrusive lists: an object is in a list by a link it carries, and leaves it in constant time.
// Owns: nothing. Context: shard-local.
#pragma once

#include "net/base/check.hh"

namespace solaster::net::tcp {

template <class T>
struct list_link {
  T* next = nullptr;
  T* previous = nullptr;
  bool linked = false;
};

template <class T, list_link<T> T::* Link>
class linked_list {
 public:
  linked_list() noexcept = default;
  linked_list(const linked_list&) = delete;

  bool empty() const noexcept { return !_head; }
  T* front() const noexcept { return _head; }
  T* next(const T* t) const noexcept { return (t->*Link).next; }

  void push_back(T* t) noexcept {
    list_link<T>& link = t->*Link;
    DCHECK(!link.linked);
    link = {nullptr, _tail, true};
    (_tail ? (_tail->*Link).next : _head) = t;
    _tail = t;
  }
  void remove(T* t) noexcept {
    list_link<T>& link = t->*Link;
    DCHECK(link.linked);
    (link.previous ? (link.previous->*Link).next : _head) = link.next;
    (link.next ? (link.next->*Link).previous : _tail) = link.previous;
    link = {};
  }
  T* pop_front() noexcept {
    T* t = _head;
    if (t) {
      remove(t);
    }
    return t;
  }
  bool is_valid() const noexcept {
    const T* previous = nullptr;
    for (const T* t = _head; t; previous = t, t = (t->*Link).next) {
      if (!(t->*Link).linked || (t->*Link).previous != previous) {
        return false;
      }
    }
    return previous == _tail;
  }

 private:
  T* _head = nullptr;
  T* _tail = nullptr;
};

}  // namespace solaster::net::tcp

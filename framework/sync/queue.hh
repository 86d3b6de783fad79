// A bounded queue between one or more producers and one or more consumers of a shard: push waits while it is full, pop
// while it is empty.
//
// A pop that was given up (with_timeout) takes no item; a push that was given up still pushes, later.
//
// Errors: what abort() was given, for everybody who waits or comes later. Context: shard-local.
#pragma once

#include "framework/future/future.hh"
#include "framework/sync/condition_variable.hh"

#include <deque>

namespace solaster {

template <typename T>
class queue {
  std::deque<T> _items;
  size_t _max;
  condition_variable _not_empty;
  condition_variable _not_full;
  std::exception_ptr _aborted;

 public:
  explicit queue(size_t max) : _max(max) {}

  bool empty() const noexcept { return _items.empty(); }
  bool full() const noexcept { return _items.size() >= _max; }
  size_t size() const noexcept { return _items.size(); }
  size_t max_size() const noexcept { return _max; }
  T& front() noexcept { return _items.front(); }

  // False when full.
  bool push(T&& item) {
    if (full() || _aborted) {
      return false;
    }
    _items.push_back(std::move(item));
    _not_empty.signal();
    return true;
  }
  // Must not be empty.
  T pop() {
    T item = std::move(_items.front());
    _items.pop_front();
    _not_full.signal();
    return item;
  }
  future<> push_eventually(T item) {
    while (!_aborted && full()) {
      co_await _not_full.wait();
    }
    check();
    push(std::move(item));
  }
  future<T> pop_eventually() {
    while (!_aborted && empty()) {
      co_await _not_empty.wait();
      if (!co_await coroutine::is_wanted()) {
        _not_empty.signal();  // another may want the item
        co_await coroutine::quit();
      }
    }
    check();
    co_return pop();
  }
  future<> not_empty() {
    while (!_aborted && empty()) {
      co_await _not_empty.wait();
      if (!co_await coroutine::is_wanted()) {
        _not_empty.signal();
        co_await coroutine::quit();
      }
    }
    check();
  }
  future<> not_full() {
    while (!_aborted && full()) {
      co_await _not_full.wait();
    }
    check();
  }
  // Drops what is inside.
  void abort(std::exception_ptr ex) noexcept {
    _aborted = std::move(ex);
    _items.clear();
    _not_empty.broadcast();
    _not_full.broadcast();
  }

 private:
  void check() const {
    if (_aborted) {
      std::rethrow_exception(_aborted);
    }
  }
};

}  // namespace solaster

// The bytes of an answer as they gather: text in one growing buffer, large items by reference.
//
// Owns: its buffer, and a reference on each item it points to. Context: one shard. Limits: the session stops feeding at
// reply_soft_max; a single answer may pass it.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/memcached/cache.hh"

namespace solaster::memcached {

inline constexpr size_t reply_soft_max = 32 << 10;
// Items of at least this size are sent from where they lie; below, a copy is cheaper than a reference.
inline constexpr size_t reference_min = 8 << 10;

class reply {
 public:
  struct reference {
    size_t at;  // position in text() where the item's bytes go
    item* what;
    size_t skip;  // bytes of item::text() already in text()
  };

  explicit reply(cache* owner = nullptr) : _owner(owner) {}
  reply(reply&& o) noexcept
      : _owner(o._owner),
        _begin(std::move(o._begin)),
        _size(std::exchange(o._size, 0)),
        _capacity(std::exchange(o._capacity, 0)),
        _referenced(std::exchange(o._referenced, 0)),
        _references(std::move(o._references)) {}
  reply& operator=(reply&&) = delete;
  ~reply() { clear(); }

  void append(std::string_view text) {
    if (text.empty())
      return;
    std::memcpy(reserve(text.size()), text.data(), text.size());
    _size += text.size();
  }
  void append_number(uint64_t n) { commit(write_number(reserve(decimal_digits_max), n)); }
  // A VALUE line with its data. With an owner (the item's cache), large items are referenced.
  void append_value(item* i, bool with_cas) {
    size_t text_size = i->text_size();
    bool by_reference = _owner && text_size >= reference_min;
    char* p = reserve(6 + 1 + decimal_digits_max + (by_reference ? size_t(i->key_size) + i->suffix_size : text_size));
    std::memcpy(p, "VALUE ", 6);
    p += 6;
    size_t skip = 0;
    if (with_cas) {
      std::string_view head = i->head();
      std::memcpy(p, head.data(), head.size());
      p += head.size();
      *p++ = ' ';
      p = write_number(p, i->cas);
      skip = head.size();
    }
    if (by_reference) {
      commit(p);
      _owner->hold(i);
      _references.push_back({_size, i, skip});
      _referenced += text_size - skip;
    } else {
      std::memcpy(p, i->text() + skip, text_size - skip);
      commit(p + text_size - skip);
    }
  }

  std::string_view text() const noexcept { return {_begin.get(), _size}; }
  // Gives the caller the references; it releases the items.
  std::vector<reference> take_references() noexcept {
    _referenced = 0;
    return std::exchange(_references, {});
  }
  bool has_references() const noexcept { return !_references.empty(); }
  size_t size() const noexcept { return _size + _referenced; }
  bool empty() const noexcept { return size() == 0; }
  void clear() noexcept {
    for (auto& r : _references)
      _owner->release(r.what);
    _references.clear();
    _referenced = 0;
    _size = 0;
    if (_capacity > 4 * reply_soft_max) {
      _begin.reset();
      _capacity = 0;
    }
  }

 private:
  char* reserve(size_t n) {
    if (_capacity - _size < n) [[unlikely]]
      grow(n);
    return _begin.get() + _size;
  }
  void commit(char* end) noexcept { _size = size_t(end - _begin.get()); }
  void grow(size_t n) {
    size_t capacity = std::max({_capacity * 2, _size + n, size_t(1024)});
    auto larger = std::make_unique_for_overwrite<char[]>(capacity);
    if (_size)
      std::memcpy(larger.get(), _begin.get(), _size);
    _begin = std::move(larger);
    _capacity = capacity;
  }

  cache* _owner;
  std::unique_ptr<char[]> _begin;
  size_t _size = 0;
  size_t _capacity = 0;
  size_t _referenced = 0;
  std::vector<reference> _references;
};

}  // namespace solaster::memcached

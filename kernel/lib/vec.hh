// A growing array that reports running out of memory instead of throwing.
// Context: whoever owns it; allocates.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

namespace solaster::kernel {

template <class T>
class vec {
 public:
  size_t size() const { return _size; }
  bool empty() const { return _size == 0; }
  T& operator[](size_t i) { return _items[i]; }
  const T& operator[](size_t i) const { return _items[i]; }
  T* begin() { return _items.get(); }
  T* end() { return _items.get() + _size; }
  const T* begin() const { return _items.get(); }
  const T* end() const { return _items.get() + _size; }
  T* data() { return _items.get(); }

  [[nodiscard]] bool reserve(size_t capacity) {
    if (capacity <= _capacity)
      return true;
    std::unique_ptr<T[]> grown(new (std::nothrow) T[capacity]());
    if (!grown)
      return false;
    for (size_t i = 0; i < _size; i++)
      grown[i] = std::move(_items[i]);
    _items = std::move(grown);
    _capacity = capacity;
    return true;
  }
  [[nodiscard]] bool push_back(T item) {
    if (_size == _capacity && !reserve(_capacity ? _capacity * 2 : 8))
      return false;
    _items[_size++] = std::move(item);
    return true;
  }
  // Keeps the order of the others.
  void erase(size_t i) {
    for (; i + 1 < _size; i++)
      _items[i] = std::move(_items[i + 1]);
    _items[--_size] = T();
  }
  [[nodiscard]] bool resize(size_t size) {
    if (!reserve(size))
      return false;
    for (size_t i = size; i < _size; i++)
      _items[i] = T();
    _size = size;
    return true;
  }

 private:
  std::unique_ptr<T[]> _items;
  size_t _size = 0;
  size_t _capacity = 0;
};

}  // namespace solaster::kernel

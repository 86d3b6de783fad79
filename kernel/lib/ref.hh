// Shared ownership inside the kernel: an object that counts its holders, and a pointer that is one of them.
//
// Context: any thread; the count is atomic. The last holder's thread destroys the object, so a destructor may sleep
// only if every holder may.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace solaster::kernel {

class counted {
 public:
  counted() = default;
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  virtual ~counted() = default;

  void add_ref() const { _count.fetch_add(1, std::memory_order_relaxed); }
  // The release of every holder pairs with the acquire of the last, who destroys.
  void drop_ref() const {
    if (_count.fetch_sub(1, std::memory_order_acq_rel) == 1)
      delete this;
  }

 private:
  mutable std::atomic<uint32_t> _count{0};
};

template <class T>
class ref {
 public:
  ref() = default;
  ref(std::nullptr_t) {}
  explicit ref(T* p) : _p(p) {
    if (_p)
      _p->add_ref();
  }
  ref(const ref& o) : ref(o._p) {}
  ref(ref&& o) noexcept : _p(std::exchange(o._p, nullptr)) {}
  template <class U>
  ref(const ref<U>& o) : ref(static_cast<T*>(o.get())) {}
  ref& operator=(ref o) noexcept {
    std::swap(_p, o._p);
    return *this;
  }
  ~ref() {
    if (_p)
      _p->drop_ref();
  }
  T* get() const { return _p; }
  T* operator->() const { return _p; }
  T& operator*() const { return *_p; }
  explicit operator bool() const { return _p != nullptr; }
  bool operator==(const ref& o) const { return _p == o._p; }

 private:
  T* _p = nullptr;
};

// Null when memory runs out.
template <class T, class... Args>
ref<T> make_ref(Args&&... args) {
  return ref<T>(new (std::nothrow) T(std::forward<Args>(args)...));
}

}  // namespace solaster::kernel

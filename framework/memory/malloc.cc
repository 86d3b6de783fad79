// malloc, free, new, delete and the rest of the family over the heaps of memory_domain.hh.
//
// glibc allows a program to bring its own malloc, linked statically too, if it brings all of it: its own parts then use
// this one. The first call comes before any constructor has run, so everything that is touched here is
// constant-initialised, and thread-local storage is an offset off the thread pointer.
#ifndef SOLASTER_SYSTEM_ALLOCATOR

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "framework/memory/memory_domain.hh"

namespace {

using namespace solaster::memory;

inline void* allocate(size_t n) noexcept {
  if (heap* h = local_heap) [[likely]] {
    return h->allocate(n);
  }
  return arena.allocate(n);
}

inline void* allocate_aligned(size_t n, size_t alignment) noexcept {
  if (heap* h = local_heap) [[likely]] {
    return h->allocate_aligned(n, alignment);
  }
  return arena.allocate_aligned(n, alignment);
}

inline void release(void* p) noexcept {
  heap* h = local_heap;
  if (h && h->contains(p)) [[likely]] {
    h->release(p);
  } else if (p) {
    release_foreign(p);
  }
}

inline size_t usable_size(const void* p) noexcept {
  heap* h = local_heap;
  return h && h->contains(p) ? h->usable_size(p) : usable_size_foreign(p);
}

inline void* or_errno(void* p) noexcept {
  if (!p) [[unlikely]] {
    errno = ENOMEM;
  }
  return p;
}

constexpr bool is_power_of_two(size_t n) noexcept {
  return n != 0 && (n & (n - 1)) == 0;
}

// operator new: ask the new-handler until it gives up.
[[gnu::noinline]] void* allocate_or_throw_slow(size_t n, size_t alignment) {
  for (;;) {
    std::new_handler handler = std::get_new_handler();
    if (!handler) {
      throw std::bad_alloc();
    }
    handler();
    if (void* p = allocate_aligned(n, alignment)) {
      return p;
    }
  }
}
inline void* allocate_or_throw(size_t n) {
  void* p = allocate(n);
  return p ? p : allocate_or_throw_slow(n, 16);
}
inline void* allocate_or_throw(size_t n, std::align_val_t a) {
  void* p = allocate_aligned(n, size_t(a));
  return p ? p : allocate_or_throw_slow(n, size_t(a));
}

}  // namespace

extern "C" {

void* malloc(size_t n) noexcept {
  return or_errno(allocate(n));
}

void free(void* p) noexcept {
  release(p);
}  // nothing on the way touches errno

void* calloc(size_t n, size_t size) noexcept {
  size_t bytes;
  if (__builtin_mul_overflow(n, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  void* p = or_errno(allocate(bytes));
  return p ? std::memset(p, 0, bytes) : nullptr;
}

void* realloc(void* p, size_t n) noexcept {
  if (!p) {
    return or_errno(allocate(n));
  }
  if (n == 0) {
    release(p);
    return nullptr;
  }
  size_t have = usable_size(p);
  if (n <= have && n >= have / 2) {
    return p;
  }
  void* q = or_errno(allocate(n));
  if (q) {
    std::memcpy(q, p, std::min(n, have));
    release(p);
  } else if (n <= have) {
    return p;  // making it smaller cannot fail
  }
  return q;
}

void* reallocarray(void* p, size_t n, size_t size) noexcept {
  size_t bytes;
  if (__builtin_mul_overflow(n, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  return realloc(p, bytes);
}

int posix_memalign(void** out, size_t alignment, size_t n) noexcept {
  if (!is_power_of_two(alignment) || alignment % sizeof(void*) != 0) {
    return EINVAL;
  }
  void* p = allocate_aligned(n, alignment);
  if (!p) {
    return ENOMEM;
  }
  *out = p;
  return 0;
}

void* memalign(size_t alignment, size_t n) noexcept {
  if (!is_power_of_two(alignment)) {
    errno = EINVAL;
    return nullptr;
  }
  return or_errno(allocate_aligned(n, alignment));
}

void* aligned_alloc(size_t alignment, size_t n) noexcept {
  return memalign(alignment, n);
}
void* valloc(size_t n) noexcept {
  return memalign(page_size, n);
}
void* pvalloc(size_t n) noexcept {
  return memalign(page_size, (n + page_size - 1) / page_size * page_size);
}
void cfree(void* p) noexcept {
  free(p);
}
size_t malloc_usable_size(void* p) noexcept {
  return p ? usable_size(p) : 0;
}
int malloc_trim(size_t) noexcept {
  return 0;
}
int mallopt(int, int) noexcept {
  return 1;
}

}  // extern "C"

void* operator new(size_t n) {
  return allocate_or_throw(n);
}
void* operator new[](size_t n) {
  return allocate_or_throw(n);
}
void* operator new(size_t n, const std::nothrow_t&) noexcept {
  return allocate(n);
}
void* operator new[](size_t n, const std::nothrow_t&) noexcept {
  return allocate(n);
}
void* operator new(size_t n, std::align_val_t a) {
  return allocate_or_throw(n, a);
}
void* operator new[](size_t n, std::align_val_t a) {
  return allocate_or_throw(n, a);
}
void* operator new(size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate_aligned(n, size_t(a));
}
void* operator new[](size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate_aligned(n, size_t(a));
}
void operator delete(void* p) noexcept {
  release(p);
}
void operator delete[](void* p) noexcept {
  release(p);
}
void operator delete(void* p, size_t) noexcept {
  release(p);
}
void operator delete[](void* p, size_t) noexcept {
  release(p);
}
void operator delete(void* p, const std::nothrow_t&) noexcept {
  release(p);
}
void operator delete[](void* p, const std::nothrow_t&) noexcept {
  release(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  release(p);
}
void operator delete[](void* p, std::align_val_t) noexcept {
  release(p);
}
void operator delete(void* p, size_t, std::align_val_t) noexcept {
  release(p);
}
void operator delete[](void* p, size_t, std::align_val_t) noexcept {
  release(p);
}
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept {
  release(p);
}
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept {
  release(p);
}

#endif  // SOLASTER_SYSTEM_ALLOCATOR

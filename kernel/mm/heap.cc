// kmalloc: slabs of 16 KiB per size class, whole blocks of frames above 2 KiB.
//
// A slab is found from an object by rounding down: slabs are naturally aligned, and their first bytes hold the header.
// A pointer that is page-aligned is a block of frames; a slab never gives out an object on a page border.

#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/lib/walk_pace.hh"
#include "kernel/mm/frames_private.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel {
namespace {

constexpr unsigned slab_order = 2;
constexpr usize slab_size = page_size << slab_order;
constexpr usize header_size = 64;
constexpr u32 slab_magic = 0x51ab51ab;
constexpr u16 classes[] = {16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048};
constexpr usize class_count = sizeof classes / sizeof classes[0];
constexpr usize class_max = 2048;

struct free_object {
  free_object* next;
};

struct slab {
  u32 magic;
  u16 class_index;
  u16 used;
  u16 fresh;  // objects never given out yet
  u16 capacity;
  free_object* free;
  slab* next;  // slabs of the class with room
  slab* previous;
};
static_assert(sizeof(slab) <= header_size);

spinlock lock{rank::heap};
slab* with_room[class_count];

usize class_of(usize size) {
  for (usize i = 0; i < class_count; i++) {
    if (size <= classes[i])
      return i;
  }
  return class_count;
}

char* object_at(slab* s, usize i) {
  // SAFETY: bytes of the slab, whose size this is a part of.
  return reinterpret_cast<char*>(s) + header_size + i * classes[s->class_index];
}

bool is_page_aligned(const void* p) {
  // SAFETY: arithmetic on the address only.
  return (reinterpret_cast<u64>(p) & (page_size - 1)) == 0;
}

void link(slab* s) {
  s->previous = nullptr;
  s->next = with_room[s->class_index];
  if (s->next)
    s->next->previous = s;
  with_room[s->class_index] = s;
}

void unlink(slab* s) {
  if (s->previous) {
    s->previous->next = s->next;
  } else {
    with_room[s->class_index] = s->next;
  }
  if (s->next)
    s->next->previous = s->previous;
}

// What the header says is true of the slab: its free objects are its own, and with those in use and those that may
// never be given out they are all that were ever touched.
bool is_valid_slab(slab* s, usize index) {
  if (s->magic != slab_magic || s->class_index != index || s->used > s->fresh || s->fresh > s->capacity)
    return false;
  usize accounted = s->used;
  for (usize i = 0; i < s->fresh; i++)
    accounted += is_page_aligned(object_at(s, i));
  for (const free_object* o = s->free; o && accounted <= s->fresh; o = o->next, accounted++) {
    // SAFETY: the distance of two addresses.
    const usize at = reinterpret_cast<u64>(o) - reinterpret_cast<u64>(object_at(s, 0));
    if (at % classes[index] || at / classes[index] >= s->fresh)
      return false;
  }
  return accounted == s->fresh;
}

// Debug builds look at the slabs with room, at a pace that keeps it linear. The lock is held.
walk_pace pace;
usize objects_walked = 0;

bool is_valid() {
  objects_walked = 0;
  for (usize index = 0; index < class_count; index++) {
    const slab* before = nullptr;
    for (slab* s = with_room[index]; s; before = s, s = s->next) {
      if (s->previous != before || (!s->free && s->fresh >= s->capacity) || !is_valid_slab(s, index))
        return false;
      objects_walked += s->capacity;
    }
  }
  return true;
}

void check() {
  if (pace.is_due(objects_walked))
    KCHECK(is_valid());
}

slab* new_slab(usize index) {
  mm::phys_addr p = mm::allocate_frames(slab_order);
  if (!p)
    return nullptr;
  auto* s = mm::phys_to_virt<slab>(p);
  *s = {slab_magic, static_cast<u16>(index), 0, 0, 0, nullptr, nullptr, nullptr};
  s->capacity = static_cast<u16>((slab_size - header_size) / classes[index]);
  link(s);
  return s;
}

void* allocate_block(usize size) {
  unsigned order = 0;
  while ((page_size << order) < size)
    order++;
  mm::phys_addr p = mm::allocate_frames(order);
  return p ? mm::phys_to_virt(p) : nullptr;
}

void* take_object(slab* s) {
  void* object = nullptr;
  if (s->free) {
    object = s->free;
    s->free = s->free->next;
  } else {
    // A fresh object on a page border would look like a block of frames: it is never given out.
    while (!object && s->fresh < s->capacity) {
      char* o = object_at(s, s->fresh++);
      if (!is_page_aligned(o))
        object = o;
    }
  }
  if (object)
    s->used++;
  return object;
}

}  // namespace

void* kmalloc(usize size) {
  if (size > class_max)
    return size > (usize{1} << 40) ? nullptr : allocate_block(size);
  usize index = class_of(size ? size : 1);
  lock_guard g(lock);
  for (;;) {
    slab* s = with_room[index];
    if (!s)
      s = new_slab(index);
    if (!s)
      return nullptr;
    void* object = take_object(s);
    if (!s->free && s->fresh >= s->capacity)
      unlink(s);
    check();
    if (object)
      return object;
  }
}

void* kzalloc(usize size) {
  void* p = kmalloc(size);
  if (p)
    memset(p, 0, size);
  return p;
}

void kfree(void* p) {
  if (!p)
    return;
  if (is_page_aligned(p)) {
    mm::phys_addr pa = mm::virt_to_phys_linear(p);
    mm::free_frames(pa, mm::used_order(pa));
    return;
  }
  // SAFETY: an object that is not page-aligned lies in a slab, which begins at this border; the magic word says so.
  auto* s = reinterpret_cast<slab*>(align_down(reinterpret_cast<u64>(p), slab_size));
  lock_guard g(lock);
  KCHECK(s->magic == slab_magic && s->used > 0);
  const bool had_room = s->free || s->fresh < s->capacity;
  auto* o = static_cast<free_object*>(p);
  o->next = s->free;
  s->free = o;
  s->used--;
  if (!had_room)
    link(s);
  if (s->used == 0 && (s->next || s->previous)) {  // keep the last one with room
    unlink(s);
    s->magic = 0;
    mm::free_frames(mm::virt_to_phys_linear(s), slab_order);
  }
  check();
}

}  // namespace solaster::kernel

void* operator new(std::size_t n) {
  void* p = solaster::kernel::kmalloc(n);
  if (!p)
    solaster::kernel::panic("out of memory for {} bytes", n);
  return p;
}
void* operator new[](std::size_t n) {
  return operator new(n);
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return solaster::kernel::kmalloc(n);
}
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
  return solaster::kernel::kmalloc(n);
}
void operator delete(void* p) noexcept {
  solaster::kernel::kfree(p);
}
void operator delete[](void* p) noexcept {
  solaster::kernel::kfree(p);
}
void operator delete(void* p, std::size_t) noexcept {
  solaster::kernel::kfree(p);
}
void operator delete[](void* p, std::size_t) noexcept {
  solaster::kernel::kfree(p);
}
void operator delete(void* p, const std::nothrow_t&) noexcept {
  solaster::kernel::kfree(p);
}
void operator delete[](void* p, const std::nothrow_t&) noexcept {
  solaster::kernel::kfree(p);
}

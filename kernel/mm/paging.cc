#include "kernel/mm/paging.hh"

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"

namespace solaster::kernel::paging {
namespace {

constexpr u64 flush_pages_max = 32;  // beyond, a reload of CR3 is cheaper (invlpg 300 to 500 cycles, CR3 4,000)
mm::phys_addr root_table = 0;

u64* table_at(u64 entry) {
  return mm::phys_to_virt<u64>(entry & address_mask);
}
u64 index_of(u64 v, unsigned level) {
  return (v >> (12 + 9 * level)) & 511;
}

// The table below entry `e`, made when missing.
u64* descend(u64* e, bool create) {
  if (*e & present)
    return *e & huge ? nullptr : table_at(*e);
  if (!create)
    return nullptr;
  mm::phys_addr p = mm::allocate_zeroed_frame();
  if (!p)
    return nullptr;
  *e = p | present | writable;  // rights are the leaf's
  return mm::phys_to_virt<u64>(p);
}

bool has_gigabyte_pages() {
  static const bool has = cpuid(0x80000000).eax >= 0x80000001 && (cpuid(0x80000001).edx & (1u << 26));
  return has;
}

}  // namespace

mm::phys_addr root() {
  return root_table;
}
void prepare_root(mm::phys_addr p) {
  root_table = p;
}
void set_root(mm::phys_addr p) {
  root_table = p;
  write_cr3(p);
}

u64* find_large_entry(u64 v, bool create) {
  u64* t = mm::phys_to_virt<u64>(root_table);
  for (unsigned level = 3; level > 1; level--) {
    t = descend(&t[index_of(v, level)], create);
    if (!t)
      return nullptr;
  }
  return &t[index_of(v, 1)];
}

u64* find_entry(u64 v, bool create, u64** large) {
  u64* e = find_large_entry(v, create);
  if (!e)
    return nullptr;
  if (*e & huge) {
    if (large)
      *large = e;
    return nullptr;
  }
  u64* t = descend(e, create);
  return t ? &t[index_of(v, 0)] : nullptr;
}

bool map_range(u64 v, mm::phys_addr p, u64 length, u64 flags, bool may_be_large) {
  const u64 end = v + length;
  constexpr u64 gigabyte = 1u << 30;
  while (v != end) {
    const u64 left = end - v;
    if (may_be_large && left >= gigabyte && ((v | p) & (gigabyte - 1)) == 0 && has_gigabyte_pages()) {
      u64* t = descend(&mm::phys_to_virt<u64>(root_table)[index_of(v, 3)], true);
      if (!t)
        return false;
      t[index_of(v, 2)] = p | flags | huge | present;
      v += gigabyte, p += gigabyte;
    } else if (may_be_large && left >= huge_page_size && ((v | p) & (huge_page_size - 1)) == 0) {
      u64* e = find_large_entry(v, true);
      if (!e)
        return false;
      *e = p | flags | huge | present;
      v += huge_page_size, p += huge_page_size;
    } else {
      u64* e = find_entry(v, true);
      if (!e)
        return false;
      *e = p | flags | present;
      v += page_size, p += page_size;
    }
  }
  return true;
}

namespace {

// The table of the next smaller pages that stands for a large page, in its place. Translations stay the same, so other
// CPUs may walk either meanwhile. False: no memory.
bool split(u64* e, u64 smaller_page) {
  mm::phys_addr p = mm::allocate_frames(0);
  if (!p)
    return false;
  u64* table = mm::phys_to_virt<u64>(p);
  const u64 first = *e & address_mask, flags = *e & ~address_mask & ~(smaller_page == page_size ? huge : 0);
  for (u64 i = 0; i < table_size; i++)
    table[i] = (first + i * smaller_page) | flags;
  *e = p | present | writable;
  return true;
}

void give_right(u64* e, bool is_writable) {
  *e = is_writable ? *e | writable : *e & ~writable;
}

}  // namespace

bool set_writable(u64 v, u64 length, bool is_writable) {
  constexpr u64 gigabyte = 1u << 30;
  const u64 end = v + length;
  while (v < end) {
    u64* e = &table_at(mm::phys_to_virt<u64>(root_table)[index_of(v, 3)])[index_of(v, 2)];
    if (*e & huge) {
      if (v % gigabyte == 0 && end - v >= gigabyte) {
        give_right(e, is_writable);
        v += gigabyte;
        continue;
      }
      if (!split(e, huge_page_size))
        return false;
    }
    e = &table_at(*e)[index_of(v, 1)];
    if (*e & huge) {
      if (v % huge_page_size == 0 && end - v >= huge_page_size) {
        give_right(e, is_writable);
        v += huge_page_size;
        continue;
      }
      if (!split(e, page_size))
        return false;
    }
    give_right(&table_at(*e)[index_of(v, 0)], is_writable);
    v += page_size;
  }
  return true;
}

void flush_local_all() {
  write_cr3(read_cr3());
}

void flush_local(u64 start, u64 end) {
  if ((end - start) / page_size > flush_pages_max) {
    flush_local_all();
    return;
  }
  for (u64 v = start; v < end; v += page_size)
    invalidate_page(v);
}

}  // namespace solaster::kernel::paging

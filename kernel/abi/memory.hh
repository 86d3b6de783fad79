// mmap and its family.
// Spec: Linux include/uapi/asm-generic/mman-common.h, mman.h, linux/mman.h.
#pragma once

#include <cstdint>

namespace solaster::kernel::abi {

inline constexpr uint64_t page_size = 4096;

inline constexpr uint32_t prot_none = 0;
inline constexpr uint32_t prot_read = 1;
inline constexpr uint32_t prot_write = 2;
inline constexpr uint32_t prot_exec = 4;

inline constexpr uint32_t map_shared = 0x01;
inline constexpr uint32_t map_private = 0x02;
inline constexpr uint32_t map_shared_validate = 0x03;
inline constexpr uint32_t map_type = 0x0f;
inline constexpr uint32_t map_fixed = 0x10;
inline constexpr uint32_t map_anonymous = 0x20;
inline constexpr uint32_t map_32bit = 0x40;
inline constexpr uint32_t map_growsdown = 0x100;
inline constexpr uint32_t map_locked = 0x2000;
inline constexpr uint32_t map_noreserve = 0x4000;
inline constexpr uint32_t map_populate = 0x8000;
inline constexpr uint32_t map_stack = 0x20000;
inline constexpr uint32_t map_hugetlb = 0x40000;
inline constexpr uint32_t map_fixed_noreplace = 0x100000;

inline constexpr uint32_t mremap_maymove = 1;
inline constexpr uint32_t mremap_fixed = 2;
inline constexpr uint32_t mremap_dontunmap = 4;

inline constexpr int madv_normal = 0;
inline constexpr int madv_random = 1;
inline constexpr int madv_sequential = 2;
inline constexpr int madv_willneed = 3;
inline constexpr int madv_dontneed = 4;
inline constexpr int madv_free = 8;
inline constexpr int madv_dontfork = 10;
inline constexpr int madv_dofork = 11;
inline constexpr int madv_mergeable = 12;
inline constexpr int madv_unmergeable = 13;
inline constexpr int madv_hugepage = 14;
inline constexpr int madv_nohugepage = 15;
inline constexpr int madv_dontdump = 16;
inline constexpr int madv_dodump = 17;
inline constexpr int madv_wipeonfork = 18;
inline constexpr int madv_keeponfork = 19;
inline constexpr int madv_cold = 20;
inline constexpr int madv_pageout = 21;
inline constexpr int madv_populate_read = 22;
inline constexpr int madv_populate_write = 23;

inline constexpr uint32_t mlock_onfault = 1;
inline constexpr uint64_t mcl_current = 1;
inline constexpr uint64_t mcl_future = 2;
inline constexpr uint64_t mcl_onfault = 4;

inline constexpr int ms_async = 1;
inline constexpr int ms_invalidate = 2;
inline constexpr int ms_sync = 4;

}  // namespace solaster::kernel::abi

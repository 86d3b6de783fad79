// Memory: brk, mmap and its family.
// Spec: mmap(2), mremap(2), madvise(2); Linux mm/{mmap,mremap,madvise,mlock,mincore}.c for the order of the checks.

#include "kernel/abi/memory.hh"

#include "kernel/fs/node.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/shortage.hh"
#include "kernel/sys/call.hh"

namespace solaster::kernel::sys {

namespace {

constexpr u32 prot_all = abi::prot_read | abi::prot_write | abi::prot_exec;

bool is_aligned(u64 x) {
  return x % page_size == 0;
}

// Rounded up to pages; 0: it overflowed.
u64 round_up(u64 length) {
  return length > ~u64{0} - page_size ? 0 : align_up(length, page_size);
}

// In the order of Linux's do_mmap.
status check_file(const fs::file& f, bool shared, u32 prot) {
  if (f.is_path())
    return errc::badf;
  if (shared && (prot & abi::prot_write) && !f.can_write())
    return errc::acces;
  if (!f.readable())
    return errc::acces;
  return {};
}

bool is_zero_device(const fs::file& f) {
  abi::stat st;
  f.fill_stat(st);
  return (st.mode & abi::s_ifmt) == abi::s_ifchr && st.rdev == fs::make_dev(1, 5);
}

status back_with_file(mm::map_request& r, fs::file& f, u64 offset) {
  TRY(check_file(f, r.shared, r.prot));
  if (is_zero_device(f))
    return {};
  auto* pages = f.of() ? f.of()->pages() : nullptr;
  if (!pages)
    return errc::nodev;
  r.kind = mm::backing::file;
  r.source = ref<mm::page_source>(pages);
  r.file_offset = offset;
  r.may_write = !r.shared || f.can_write();
  return {};
}

}  // namespace

answer sys_brk(call& c) {
  return i64(mm::set_brk(c.u(0)));
}

answer sys_mmap(call& c) {
  u64 length = c.u(1), offset = c.u(5);
  u32 prot = u32(c.u(2)), flags = u32(c.u(3)), type = flags & abi::map_type;
  if (!is_aligned(offset))
    return errc::inval;
  ref<fs::file> file;
  if (!(flags & abi::map_anonymous))
    file = TRY(task::the_process().files.get(c.i(4)));
  if (length == 0)
    return errc::inval;
  if ((length = round_up(length)) == 0 || length > mm::program_end)
    return errc::nomem;
  if (offset + length < offset)
    return errc::overflow;
  if (mm::is_memory_short())
    return errc::nomem;
  if (type != abi::map_private && type != abi::map_shared && type != abi::map_shared_validate)
    return errc::inval;
  if (flags & abi::map_hugetlb)
    return errc::inval;
  bool fixed = flags & (abi::map_fixed | abi::map_fixed_noreplace);
  if (fixed && !is_aligned(c.u(0)))
    return errc::inval;
  if (fixed && c.u(0) < mm::program_base)
    return errc::perm;  // below vm.mmap_min_addr
  mm::map_request r;
  r.address = align_down(c.u(0), page_size);
  if (r.address < mm::program_base)
    r.address = 0;
  r.length = length;
  r.prot = prot & prot_all;
  r.fixed = fixed;
  r.no_replace = flags & abi::map_fixed_noreplace;
  r.populate = flags & abi::map_populate;
  r.locked = flags & abi::map_locked;
  r.no_reserve = flags & abi::map_noreserve;
  r.below_4g = flags & abi::map_32bit;
  r.shared = type != abi::map_private;
  if (file)
    TRY(back_with_file(r, *file, offset));
  return i64(TRY(mm::map(r)));
}

answer sys_munmap(call& c) {
  u64 length = round_up(c.u(1));
  if (!is_aligned(c.u(0)) || length == 0 || c.u(0) >= mm::program_end || length > mm::program_end - c.u(0))
    return errc::inval;
  TRY(mm::unmap(c.u(0), length));
  return 0;
}

answer sys_mprotect(call& c) {
  u64 length = round_up(c.u(1));
  if (!is_aligned(c.u(0)) || (c.u(2) & ~u64{prot_all | 0x0f000000u}))
    return errc::inval;
  if (c.u(1) == 0)
    return 0;
  if (length == 0 || !mm::is_program_range(c.u(0), length))
    return errc::nomem;
  if (mm::is_memory_short())
    return errc::nomem;
  TRY(mm::protect(c.u(0), length, u32(c.u(2)) & prot_all));
  return 0;
}

answer sys_mremap(call& c) {
  u64 address = c.u(0), old_length = round_up(c.u(1)), new_length = round_up(c.u(2)), flags = c.u(3);
  if (flags & ~u64{abi::mremap_maymove | abi::mremap_fixed})
    return errc::inval;
  if ((flags & abi::mremap_fixed) && !(flags & abi::mremap_maymove))
    return errc::inval;
  if (!is_aligned(address) || new_length == 0)
    return errc::inval;
  if (!mm::is_program_range(address, old_length))
    return errc::fault;
  uptr fixed = 0;
  if (flags & abi::mremap_fixed) {
    fixed = c.u(4);
    if (!is_aligned(fixed) || !mm::is_program_range(fixed, new_length) || fixed == 0)
      return errc::inval;
    if (fixed < address + old_length && address < fixed + new_length)
      return errc::inval;
  }
  if (old_length == 0)
    return errc::inval;  // duplicates a shared mapping on Linux: there are none
  return i64(TRY(mm::remap(address, old_length, new_length, flags & abi::mremap_maymove, fixed)));
}

answer sys_madvise(call& c) {
  u64 address = c.u(0), length = round_up(c.u(1));
  int advice = c.i(2);
  bool known = (advice >= abi::madv_normal && advice <= abi::madv_dontneed) || advice == abi::madv_free ||
               (advice >= abi::madv_dontfork && advice <= abi::madv_populate_write);
  if (!known || !is_aligned(address))
    return errc::inval;
  if (c.u(1) == 0)
    return 0;
  if (length == 0 || !mm::is_program_range(address, length))
    return length == 0 ? errc::inval : errc::nomem;
  switch (advice) {
    case abi::madv_dontneed:
    case abi::madv_free:
      TRY(mm::discard(address, length));
      break;
    case abi::madv_populate_read:
    case abi::madv_populate_write:
      TRY(mm::populate(address, length));
      break;
    default: {
      mm::area_info area;
      for (u64 at = address; at < address + length; at = area.end)
        if (!mm::find_area(at, area) || area.start > at)
          return errc::nomem;
    }
  }
  return 0;
}

answer sys_mincore(call& c) {
  u64 length = round_up(c.u(1));
  if (!is_aligned(c.u(0)))
    return errc::inval;
  if (!mm::is_program_range(c.u(0), length))
    return errc::nomem;
  u8 bits[512];
  for (u64 done = 0; done < length; done += sizeof bits * page_size) {
    u64 pages = (length - done) / page_size;
    if (pages > sizeof bits)
      pages = sizeof bits;
    TRY(mm::residency(c.u(0) + done, pages * page_size, {bits, pages}));
    if (!mm::copy_out(c.p<u8>(2) + done / page_size, bits, pages))
      return errc::fault;
  }
  return 0;
}

answer sys_msync(call& c) {
  constexpr u64 known = abi::ms_async | abi::ms_invalidate | abi::ms_sync;
  if (!is_aligned(c.u(0)) || (c.u(2) & ~known) || (c.u(2) & 5) == 5)
    return errc::inval;
  mm::area_info area;
  u64 end = c.u(0) + round_up(c.u(1));
  for (u64 at = c.u(0); at < end; at = area.end)
    if (!mm::find_area(at, area) || area.start > at)
      return errc::nomem;
  return 0;
}

// Nothing is ever written out: a page that is there stays, and locking is filling.
namespace {

answer set_locked(call& c, bool on, bool fill) {
  u64 start = align_down(c.u(0), page_size), end = round_up(c.u(0) + c.u(1));
  if (end < start)
    return errc::inval;
  if (end == start)
    return 0;
  TRY(mm::lock_pages(start, end - start, on, fill));
  return 0;
}

}  // namespace

answer sys_mlock(call& c) {
  return set_locked(c, true, true);
}
answer sys_mlock2(call& c) {
  if (c.u(2) & ~u64{abi::mlock_onfault})
    return errc::inval;
  return set_locked(c, true, !(c.u(2) & abi::mlock_onfault));
}
answer sys_munlock(call& c) {
  return set_locked(c, false, false);
}
answer sys_mlockall(call& c) {
  u64 flags = c.u(0), all = abi::mcl_current | abi::mcl_future | abi::mcl_onfault;
  if (flags == 0 || flags == abi::mcl_onfault || (flags & ~all))
    return errc::inval;
  TRY(mm::lock_all(flags & abi::mcl_current, flags & abi::mcl_future, !(flags & abi::mcl_onfault)));
  return 0;
}
answer sys_munlockall(call&) {
  mm::unlock_all();
  return 0;
}

}  // namespace solaster::kernel::sys

#include "kernel/mm/user_access.hh"

#include "kernel/arch/x86_64/traps.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/address_space.hh"

namespace solaster::kernel::mm {
namespace {

constexpr int efault = -14, enametoolong = -36;

// While one lives, a fault is not served: it fails at once.
class nofault_scope {
 public:
  nofault_scope() : _depth(nofault_depth()) { _depth.fetch_add(1, std::memory_order_relaxed); }
  ~nofault_scope() { _depth.fetch_sub(1, std::memory_order_relaxed); }

 private:
  std::atomic<u32>& _depth;
};

bool is_program(const void* p, usize n) {
  // SAFETY: arithmetic on the address only, as below.
  return is_program_range(reinterpret_cast<uptr>(p), n);
}

}  // namespace

usize copy_in_partial(void* dst, const void* src, usize n) {
  if (!is_program(src, n))
    return 0;
  return n - copy_guarded(dst, src, n);
}
usize copy_out_partial(void* dst, const void* src, usize n) {
  if (!is_program(dst, n))
    return 0;
  return n - copy_guarded(dst, src, n);
}
bool copy_in(void* dst, const void* src, usize n) {
  return is_program(src, n) && copy_guarded(dst, src, n) == 0;
}
bool copy_out(void* dst, const void* src, usize n) {
  return is_program(dst, n) && copy_guarded(dst, src, n) == 0;
}

long copy_string_in(char* dst, const char* src, usize size) {
  usize at = 0;
  while (at < size) {
    // Up to the end of the page: the string may end just before an unmapped one.
    // SAFETY: arithmetic on the address only.
    usize n = page_size - ((reinterpret_cast<uptr>(src) + at) & (page_size - 1));
    if (n > size - at)
      n = size - at;
    usize got = copy_in_partial(dst + at, src + at, n);
    for (usize i = 0; i < got; i++) {
      if (dst[at + i] == 0)
        return static_cast<long>(at + i);
    }
    if (got < n)
      return efault;
    at += n;
  }
  return enametoolong;
}

bool read_u32_nofault(u32& value, const u32* src) {
  if (!is_program(src, sizeof(u32)))
    return false;
  nofault_scope s;
  return load_u32_guarded(&value, src) == 0;
}

bool cmpxchg_u32_nofault(u32* dst, u32& expected, u32 desired, bool& exchanged) {
  if (!is_program(dst, sizeof(u32)))
    return false;
  nofault_scope s;
  int r = cmpxchg_u32_guarded(dst, &expected, desired);
  exchanged = r == 0;
  return r != 1;
}

bool copy_in_nofault(void* dst, const void* src, usize n) {
  nofault_scope s;
  return copy_guarded(dst, src, n) == 0;
}

}  // namespace solaster::kernel::mm

// Reading and writing program memory from the kernel: a bad pointer is EFAULT, never a crash.
//
// A fault on an address that the program may use is served (demand paging, copy of a file page) and the access goes on;
// any other makes the function return false. Addresses outside the program's half are refused. Context: thread; may
// sleep (takes the address space's lock): hold no spinlock. The *_nofault forms never sleep and may be called under a
// spinlock: they fail where a fault would have to be served.
#pragma once

#include <atomic>
#include <span>
#include <string_view>

#include "kernel/lib/types.hh"

namespace solaster::kernel::mm {

inline constexpr uptr program_base = 0x1'0000;
inline constexpr uptr program_end = 0x7fff'ffff'f000;

// An address that a program gave, as a pointer for the functions below; nothing else may follow it.
// SAFETY: those functions check the range and catch every fault.
template <typename T = void>
T* program_pointer(uptr address) {
  return reinterpret_cast<T*>(address);
}

inline bool is_program_range(uptr p, usize n) {
  return n <= program_end && p <= program_end - n && p < program_end;  // one comparison where n is a constant
}

// The current thread's count of scopes in which a fault is not served but fails at once. Defined in kernel/sched.
std::atomic<u32>& nofault_depth();

[[nodiscard]] bool copy_in(void* dst, const void* program_src, usize n);
[[nodiscard]] bool copy_out(void* program_dst, const void* src, usize n);
// Bytes copied before the first fault (for read/write that are cut short).
usize copy_in_partial(void* dst, const void* program_src, usize n);
usize copy_out_partial(void* program_dst, const void* src, usize n);

template <typename T>
[[nodiscard]] bool get(T& value, const T* program_src) {
  return copy_in(&value, program_src, sizeof(T));
}
template <typename T>
[[nodiscard]] bool put(T* program_dst, const T& value) {
  return copy_out(program_dst, &value, sizeof(T));
}

// Length without the NUL, -EFAULT, or -ENAMETOOLONG when there is no NUL in `size` bytes. The copy is NUL-terminated.
long copy_string_in(char* dst, const char* program_src, usize size);

[[nodiscard]] bool read_u32_nofault(u32& value, const u32* program_src);
[[nodiscard]] bool cmpxchg_u32_nofault(u32* program_dst, u32& expected, u32 desired, bool& exchanged);
[[nodiscard]] bool copy_in_nofault(void* dst, const void* src, usize n);  // any address, the kernel's too

}  // namespace solaster::kernel::mm

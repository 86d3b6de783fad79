// memcpy and its kin, without vector registers. Loops of eight bytes, unrolled: under TCG they beat `rep movsb` by far,
// and on hardware they are within a factor of two of it for the sizes that the kernel copies.
//
// SAFETY (file): `word` may alias and may be unaligned; ranges are the caller's promise, as in C.

#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "net/base/check.hh"

namespace {
using word = std::uint64_t __attribute__((may_alias, aligned(1)));
}

extern "C" {

void* memcpy(void* dst, const void* src, std::size_t n) noexcept {
  auto* d = static_cast<unsigned char*>(dst);
  auto* s = static_cast<const unsigned char*>(src);
  for (; n >= 64; n -= 64, d += 64, s += 64) {
    auto* dw = reinterpret_cast<word*>(d);
    auto* sw = reinterpret_cast<const word*>(s);
    word a = sw[0], b = sw[1], c = sw[2], e = sw[3];
    dw[0] = a, dw[1] = b, dw[2] = c, dw[3] = e;
    a = sw[4], b = sw[5], c = sw[6], e = sw[7];
    dw[4] = a, dw[5] = b, dw[6] = c, dw[7] = e;
  }
  for (; n >= 8; n -= 8, d += 8, s += 8)
    *reinterpret_cast<word*>(d) = *reinterpret_cast<const word*>(s);
  for (; n; n--)
    *d++ = *s++;
  return dst;
}

void* memmove(void* dst, const void* src, std::size_t n) noexcept {
  auto* d = static_cast<unsigned char*>(dst);
  auto* s = static_cast<const unsigned char*>(src);
  if (d <= s || d >= s + n)
    return memcpy(dst, src, n);
  d += n;
  s += n;
  for (; n >= 8; n -= 8) {
    d -= 8;
    s -= 8;
    *reinterpret_cast<word*>(d) = *reinterpret_cast<const word*>(s);
  }
  for (; n; n--)
    *--d = *--s;
  return dst;
}

void* memset(void* dst, int c, std::size_t n) noexcept {
  auto* d = static_cast<unsigned char*>(dst);
  const std::uint64_t v = 0x0101010101010101ull * static_cast<unsigned char>(c);
  for (; n >= 64; n -= 64, d += 64) {
    auto* dw = reinterpret_cast<word*>(d);
    dw[0] = v, dw[1] = v, dw[2] = v, dw[3] = v;
    dw[4] = v, dw[5] = v, dw[6] = v, dw[7] = v;
  }
  for (; n >= 8; n -= 8, d += 8)
    *reinterpret_cast<word*>(d) = v;
  for (; n; n--)
    *d++ = static_cast<unsigned char>(c);
  return dst;
}

int memcmp(const void* a, const void* b, std::size_t n) noexcept {
  auto* x = static_cast<const unsigned char*>(a);
  auto* y = static_cast<const unsigned char*>(b);
  for (; n >= 8; n -= 8, x += 8, y += 8) {
    if (*reinterpret_cast<const word*>(x) != *reinterpret_cast<const word*>(y))
      break;
  }
  for (; n; n--, x++, y++) {
    if (*x != *y)
      return *x - *y;
  }
  return 0;
}

int bcmp(const void* a, const void* b, std::size_t n) {
  return memcmp(a, b, n);
}

const void* kernel_memchr(const void* s, int c, std::size_t n) noexcept {
  auto* p = static_cast<const unsigned char*>(s);
  for (; n; n--, p++) {
    if (*p == static_cast<unsigned char>(c))
      return p;
  }
  return nullptr;
}
// The name the compiler and libstdc++ use.
void* memchr(const void* s, int c, std::size_t n) {
  return const_cast<void*>(kernel_memchr(s, c, n));
}

std::size_t strlen(const char* s) noexcept {
  const char* p = s;
  while (*p)
    p++;
  return static_cast<std::size_t>(p - s);
}

int strcmp(const char* a, const char* b) noexcept {
  for (; *a && *a == *b; a++, b++) {
  }
  return static_cast<unsigned char>(*a) - static_cast<unsigned char>(*b);
}

void abort() noexcept {
  solaster::kernel::panic("abort");
}

// A pure virtual call, a static's destructor: the first is a bug, the second never runs.
void __cxa_pure_virtual() {
  solaster::kernel::panic("pure virtual call");
}
int __cxa_atexit(void (*)(void*), void*, void*) {
  return 0;
}
void* __dso_handle = nullptr;

void solaster_check_failed(const char* file, int line, const char* expression) noexcept {
  solaster::kernel::check_failed(expression, file, line);
}

}  // extern "C"

// libstdc++'s headers name these where exceptions are off.
namespace std {
void __throw_length_error(const char* what) {
  solaster::kernel::panic("length_error: {}", what);
}
void __throw_bad_alloc() {
  solaster::kernel::panic("bad_alloc");
}
void __throw_bad_array_new_length() {
  solaster::kernel::panic("bad_array_new_length");
}
void __throw_out_of_range_fmt(const char* what, ...) {
  solaster::kernel::panic("out_of_range: {}", what);
}
void __throw_logic_error(const char* what) {
  solaster::kernel::panic("logic_error: {}", what);
}
void __throw_bad_function_call() {
  solaster::kernel::panic("bad_function_call");
}
void __glibcxx_assert_fail(const char* file, int line, const char*, const char* what) noexcept {
  solaster::kernel::check_failed(what, file, line);
}
}  // namespace std

namespace std {
const nothrow_t nothrow{};
}

extern "C" {

std::size_t strnlen(const char* s, std::size_t max) {
  std::size_t n = 0;
  while (n < max && s[n])
    n++;
  return n;
}

void __assert_fail(const char* expression, const char* file, unsigned line, const char*) noexcept {
  solaster::kernel::check_failed(expression, file, static_cast<int>(line));
}

// 128-bit division, which the compiler calls for. By a 64-bit divisor it is two `div`; by a wider one, bit by bit
// (rare).
unsigned __int128 __udivti3(unsigned __int128 a, unsigned __int128 b) {
  using u64 = std::uint64_t;
  if (b >> 64 == 0) {
    const u64 d = static_cast<u64>(b), high = static_cast<u64>(a >> 64);
    const u64 quotient_high = high / d;
    u64 remainder = high % d, quotient_low;
    // SAFETY: remainder < d, so the quotient fits 64 bits.
    asm("divq %4" : "=a"(quotient_low), "=d"(remainder) : "0"(static_cast<u64>(a)), "1"(remainder), "r"(d));
    return static_cast<unsigned __int128>(quotient_high) << 64 | quotient_low;
  }
  unsigned __int128 quotient = 0, remainder = 0;
  for (int i = 127; i >= 0; i--) {
    remainder = remainder << 1 | (a >> i & 1);
    if (remainder >= b) {
      remainder -= b;
      quotient |= static_cast<unsigned __int128>(1) << i;
    }
  }
  return quotient;
}

}  // extern "C"

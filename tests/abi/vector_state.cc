// Vector and x87 registers survive preemption, system calls, page faults and signal handlers; a handler starts with
// usable ones and what it changes is undone.
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <atomic>
#include <cfenv>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

// Loads all sixteen vector registers with a pattern, lets `between` happen in the middle of one asm block, compares.
template <class Between>
static bool keeps_xmm(uint64_t seed, Between between) {
  alignas(16) uint64_t in[32], out[32];
  for (int i = 0; i < 32; i++)
    in[i] = seed * 0x9e3779b97f4a7c15 + uint64_t(i) * 0x12345;
  return between(in, out) && std::memcmp(in, out, sizeof in) == 0;
}

#define CLOBBER                                                                                                       \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD(n) "movaps " #n "*16(%[in]), %%xmm" #n "\n"
#define STORE(n) "movaps %%xmm" #n ", " #n "*16(%[out])\n"

static bool across_spin(const uint64_t* in, uint64_t* out) {
  long count = 200000;
  asm volatile(ALL(LOAD) "1: dec %[count]\n jnz 1b\n" ALL(STORE)
               : [count] "+r"(count)
               : [in] "r"(in), [out] "r"(out)
               : CLOBBER, "memory", "cc");
  return true;
}

static bool across_yield(const uint64_t* in, uint64_t* out) {
  long n = SYS_sched_yield;
  asm volatile(ALL(LOAD) "syscall\n" ALL(STORE)
               : "+a"(n)
               : [in] "r"(in), [out] "r"(out)
               : CLOBBER, "rcx", "r11", "memory", "cc");
  return n == 0;
}

static bool across_sleep(const uint64_t* in, uint64_t* out) {
  timespec t = {0, 100000};
  long n = SYS_nanosleep;
  asm volatile(ALL(LOAD) "syscall\n" ALL(STORE)
               : "+a"(n)
               : [in] "r"(in), [out] "r"(out), "D"(&t), "S"(0)
               : CLOBBER, "rcx", "r11", "memory", "cc");
  return n == 0;
}

static bool across_fault(const uint64_t* in, uint64_t* out) {
  auto* page = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  asm volatile(ALL(LOAD) "movb $1, (%[page])\n" ALL(STORE)
               :
               : [in] "r"(in), [out] "r"(out), [page] "r"(page)
               : CLOBBER, "memory");
  munmap(page, 4096);
  return true;
}

static volatile int handled;
static void spoil(int) {
  asm volatile("pxor %%xmm0, %%xmm0\n pxor %%xmm7, %%xmm7\n pcmpeqd %%xmm15, %%xmm15\n fninit\n fld1\n" ::
                   : "xmm0", "xmm7", "xmm15", "memory");
  double x = handled * 0.5;
  handled = int(x * 2) + 1;
}

static bool across_signal(const uint64_t* in, uint64_t* out) {
  long n = SYS_tgkill;
  long pid = getpid(), tid = syscall(SYS_gettid);
  asm volatile(ALL(LOAD) "syscall\n" ALL(STORE)
               : "+a"(n)
               : [in] "r"(in), [out] "r"(out), "D"(pid), "S"(tid), "d"(long{SIGUSR1})
               : CLOBBER, "rcx", "r11", "memory", "cc");
  return n == 0;
}

__attribute__((target("avx2"))) static bool avx_across_spin(int me) {
  alignas(32) uint64_t in[8], out[8];
  for (int i = 0; i < 8; i++)
    in[i] = uint64_t(me) << 32 | uint64_t(i) * 77;
  long count = 200000;
  asm volatile(
      "vmovdqa (%[in]), %%ymm3\n vmovdqa 32(%[in]), %%ymm12\n 1: dec %[count]\n jnz 1b\n vmovdqa %%ymm3, (%[out])\n "
      "vmovdqa %%ymm12, 32(%[out])\n"
      : [count] "+r"(count)
      : [in] "r"(in), [out] "r"(out)
      : "xmm3", "xmm12", "memory", "cc");
  return std::memcmp(in, out, sizeof in) == 0;
}

template <class F>
static void in_threads(const char* what, F f) {
  std::atomic<int> bad{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 4; i++)
    all.emplace_back([&, i] {
      for (int n = 0; n < 30; n++)
        if (!f(i * 1000 + n))
          bad++;
    });
  for (auto& t : all)
    t.join();
  std::printf("%s: %s\n", what, bad == 0 ? "kept" : "LOST");
}

int main() {
  struct sigaction a = {};
  a.sa_handler = spoil;
  sigaction(SIGUSR1, &a, nullptr);
  in_threads("across a spin", [](int n) { return keeps_xmm(uint64_t(n), across_spin); });
  in_threads("across sched_yield", [](int n) { return keeps_xmm(uint64_t(n), across_yield); });
  in_threads("across nanosleep", [](int n) { return keeps_xmm(uint64_t(n), across_sleep); });
  in_threads("across a page fault", [](int n) { return keeps_xmm(uint64_t(n), across_fault); });
  in_threads("across a signal", [](int n) { return keeps_xmm(uint64_t(n), across_signal); });
  if (__builtin_cpu_supports("avx2"))
    in_threads("avx across a spin", avx_across_spin);
  else
    std::printf("avx across a spin: kept\n");

  // x87 and the control words are a thread's own.
  std::atomic<int> wrong{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 4; i++)
    all.emplace_back([&, i] {
      const int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
      std::fesetround(modes[i]);
      for (int n = 0; n < 200; n++) {
        sched_yield();
        if (std::fegetround() != modes[i])
          wrong++;
        volatile double x = 1.0, y = 3.0;
        double q = x / y;
        if ((q * 3 < 1.0) != (1.0 / 3.0 * 3 < 1.0) && modes[i] == FE_TONEAREST)
          wrong++;
        volatile long double deep = 2.0L;
        if (std::sqrt(deep) * std::sqrt(deep) < 1.99L)
          wrong++;
      }
    });
  for (auto& t : all)
    t.join();
  std::printf("rounding modes: %s\n", wrong == 0 ? "kept" : "LOST");
  std::printf("inherited by a thread: ");
  std::fesetround(FE_UPWARD);
  std::thread([] { std::printf("%d\n", std::fegetround() == FE_UPWARD); }).join();
  return 0;
}

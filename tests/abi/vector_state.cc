// Vector and x87 registers, MXCSR and the x87 control word survive preemption, system calls, page faults and signal
// handlers, all of their bits; a handler starts with fresh ones and what it changes is undone.
#include <cpuid.h>
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

// What happens between loading the registers and storing them, without a compiler in between. R12 and R13 are
// arguments.
extern "C" {
extern timespec short_time;
timespec short_time = {0, 100000};
void spin();
void yield();
void sleep_a_little();
void touch();
void send_signal();
}
asm(R"(
  .text
spin:
  movl $200000, %ecx
1: decl %ecx
  jnz 1b
  ret
yield:
  movl $24, %eax
  syscall
  ret
sleep_a_little:
  movl $35, %eax
  leaq short_time(%rip), %rdi
  xorl %esi, %esi
  syscall
  ret
touch:
  movb $1, (%r12)
  ret
send_signal:
  movl $234, %eax
  movq %r12, %rdi
  movq %r13, %rsi
  movl $10, %edx
  syscall
  ret
)");

struct event {
  const char* name;
  void (*happen)();
};
static const event events[] = {{"a spin", spin},
                               {"sched_yield", yield},
                               {"nanosleep", sleep_a_little},
                               {"a page fault", touch},
                               {"a signal", send_signal}};

// One block: the registers are loaded from RBX, the event happens, they are stored at R14. The red zone is stepped
// over.
#define ACROSS(load, store, ...)                                                     \
  asm volatile("subq $128, %%rsp\n" load "callq *%%r15\n" store "addq $128, %%rsp\n" \
               : "+r"(r12), "+r"(r13)                                                \
               : "b"(in), "r"(r14), "r"(r15)                                         \
               : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc", __VA_ARGS__)
#define ARGUMENTS                       \
  register uint64_t r12 asm("r12") = a; \
  register uint64_t r13 asm("r13") = b; \
  register void* r14 asm("r14") = out;  \
  register void (*r15)() asm("r15") = happen
#define PARAMETERS void (*happen)(), uint64_t a, uint64_t b, const void *in, void *out

#define LOW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define HIGH(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define MASKS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define LOW_CLOBBERED                                                                                                 \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"
#define LOAD_XMM(n) "movups " #n "*16(%%rbx), %%xmm" #n "\n"
#define STORE_XMM(n) "movups %%xmm" #n ", " #n "*16(%%r14)\n"
#define LOAD_YMM(n) "vmovdqu " #n "*32(%%rbx), %%ymm" #n "\n"
#define STORE_YMM(n) "vmovdqu %%ymm" #n ", " #n "*32(%%r14)\n"
#define LOAD_ZMM(n) "vmovdqu64 " #n "*64(%%rbx), %%zmm" #n "\n"
#define STORE_ZMM(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%%r14)\n"
#define LOAD_K(n) "kmovw 2048+2*" #n "(%%rbx), %%k" #n "\n"
#define STORE_K(n) "kmovw %%k" #n ", 2048+2*" #n "(%%r14)\n"

static void across_xmm(PARAMETERS) {
  ARGUMENTS;
  ACROSS(LOW(LOAD_XMM), LOW(STORE_XMM), LOW_CLOBBERED);
}
static void across_ymm(PARAMETERS) {
  ARGUMENTS;
  ACROSS(LOW(LOAD_YMM), LOW(STORE_YMM) "vzeroupper\n", LOW_CLOBBERED);
}
[[gnu::target("avx512f")]] static void across_zmm(PARAMETERS) {
  ARGUMENTS;
  ACROSS(LOW(LOAD_ZMM) HIGH(LOAD_ZMM) MASKS(LOAD_K), LOW(STORE_ZMM) HIGH(STORE_ZMM) MASKS(STORE_K) "vzeroupper\n",
         LOW_CLOBBERED, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",
         "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7");
}
// Eight numbers of 16 bytes, the control word at 128, MXCSR at 132.
#define LOAD_X87(n) "fldt 16*(7-" #n ")(%%rbx)\n"
#define STORE_X87(n) "fstpt 16*" #n "(%%r14)\n"
#define EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
static void across_x87(PARAMETERS) {
  ARGUMENTS;
  ACROSS("fninit\n fldcw 128(%%rbx)\n ldmxcsr 132(%%rbx)\n" EIGHT(LOAD_X87),
         EIGHT(STORE_X87) "fnstcw 128(%%r14)\n stmxcsr 132(%%r14)\n fninit\n", "st");
}

struct file {
  const char* name;
  void (*across)(PARAMETERS);
  size_t bytes;
  bool is_offered;
};

static std::atomic<int> fresh_wrong{0};
static void spoil(int) {
  uint32_t mxcsr;
  uint16_t control;
  asm volatile("stmxcsr %0\n fnstcw %1" : "=m"(mxcsr), "=m"(control));
  if (mxcsr != 0x1f80 || control != 0x37f)
    fresh_wrong++;
  mxcsr = 0x1f80 | 0x2000;
  asm volatile(
      "pxor %%xmm0, %%xmm0\n pxor %%xmm7, %%xmm7\n pcmpeqd %%xmm15, %%xmm15\n fninit\n fld1\n ldmxcsr %0" ::"m"(mxcsr)
      : "xmm0", "xmm7", "xmm15", "memory");
  if (__builtin_cpu_supports("avx2"))
    asm volatile("vpcmpeqd %%ymm3, %%ymm3, %%ymm3\n vpxor %%ymm12, %%ymm12, %%ymm12" ::: "xmm3", "xmm12");
}

static bool keeps(const file& f, const event& e, uint64_t seed) {
  alignas(64) static thread_local unsigned char in[2304], out[2304];
  std::memset(out, 0, sizeof out);
  for (size_t i = 0; i < f.bytes; i++)
    in[i] = static_cast<unsigned char>((seed * 0x9e3779b97f4a7c15 + i * 0x12345) >> 21);
  if (f.across == across_x87) {
    for (int i = 0; i < 8; i++) {
      long double x = static_cast<long double>(seed + 1) / (i + 3);
      std::memcpy(in + 16 * i, &x, 10);
      std::memset(in + 16 * i + 10, 0, 6);
    }
    // Rounding by seed, all exceptions masked; flush-to-zero and denormals-are-zero too.
    uint16_t control = static_cast<uint16_t>(0x37f | (seed & 3) << 10);
    uint32_t mxcsr = static_cast<uint32_t>(0x1f80 | (seed & 3) << 13 | (seed >> 2 & 1) << 15 | (seed >> 3 & 1) << 6);
    std::memcpy(in + 128, &control, 2);
    std::memset(in + 130, 0, 2);
    std::memcpy(in + 132, &mxcsr, 4);
  }
  uint64_t a = 0, b = 0;
  void* page = nullptr;
  if (e.happen == touch) {
    page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    a = reinterpret_cast<uint64_t>(page);
  } else if (e.happen == send_signal) {
    a = static_cast<uint64_t>(getpid());
    b = static_cast<uint64_t>(syscall(SYS_gettid));
  }
  if (f.across == across_zmm)
    std::memcpy(out + 2048, in + 2048, 2);  // k0 is not loaded
  f.across(e.happen, a, b, in, out);
  if (page)
    munmap(page, 4096);
  const uint32_t usual = 0x1f80;
  asm volatile("ldmxcsr %0" ::"m"(usual));
  return std::memcmp(in, out, f.bytes) == 0;
}

template <class F>
static int in_threads(F f) {
  std::atomic<int> bad{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 4; i++)
    all.emplace_back([&, i] {
      for (int n = 0; n < 20; n++)
        if (!f(static_cast<uint64_t>(i * 1000 + n)))
          bad++;
    });
  for (auto& t : all)
    t.join();
  return bad;
}

int main() {
  struct sigaction a = {};
  a.sa_handler = spoil;
  sigaction(SIGUSR1, &a, nullptr);
  const file files[] = {
      {"xmm", across_xmm, 256, true},
      {"ymm", across_ymm, 512, __builtin_cpu_supports("avx2") != 0},
      {"zmm and masks", across_zmm, 2048 + 16, __builtin_cpu_supports("avx512f") != 0},
      {"x87 and mxcsr", across_x87, 136, true},
  };
  for (const auto& f : files)
    for (const auto& e : events) {
      int bad = f.is_offered ? in_threads([&](uint64_t n) { return keeps(f, e, n); }) : 0;
      std::printf("%s across %s: %s\n", f.name, e.name, bad == 0 ? "kept" : "LOST");
    }
  std::printf("a handler starts with fresh control words: %s\n", fresh_wrong == 0 ? "yes" : "NO");

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

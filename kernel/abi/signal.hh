// Signals: numbers, sigaction, siginfo and the frame that a handler finds on its stack.
// Spec: Linux arch/x86/include/uapi/asm/{signal,sigcontext,ucontext}.h, include/uapi/asm-generic/siginfo.h;
//       arch/x86/include/asm/sigframe.h (struct rt_sigframe).
#pragma once

#include <cstddef>
#include <cstdint>

namespace solaster::kernel::abi {

inline constexpr int sig_hup = 1;
inline constexpr int sig_int = 2;
inline constexpr int sig_quit = 3;
inline constexpr int sig_ill = 4;
inline constexpr int sig_trap = 5;
inline constexpr int sig_abrt = 6;
inline constexpr int sig_bus = 7;
inline constexpr int sig_fpe = 8;
inline constexpr int sig_kill = 9;
inline constexpr int sig_usr1 = 10;
inline constexpr int sig_segv = 11;
inline constexpr int sig_usr2 = 12;
inline constexpr int sig_pipe = 13;
inline constexpr int sig_alrm = 14;
inline constexpr int sig_term = 15;
inline constexpr int sig_stkflt = 16;
inline constexpr int sig_chld = 17;
inline constexpr int sig_cont = 18;
inline constexpr int sig_stop = 19;
inline constexpr int sig_tstp = 20;
inline constexpr int sig_ttin = 21;
inline constexpr int sig_ttou = 22;
inline constexpr int sig_urg = 23;
inline constexpr int sig_xcpu = 24;
inline constexpr int sig_winch = 28;
inline constexpr int sig_sys = 31;
inline constexpr int sig_count = 64;

inline constexpr uint64_t sig_dfl = 0;
inline constexpr uint64_t sig_ign = 1;

inline constexpr uint64_t sa_nocldstop = 1;
inline constexpr uint64_t sa_siginfo = 4;
inline constexpr uint64_t sa_restorer = 0x04000000;
inline constexpr uint64_t sa_onstack = 0x08000000;
inline constexpr uint64_t sa_restart = 0x10000000;
inline constexpr uint64_t sa_nodefer = 0x40000000;
inline constexpr uint64_t sa_resethand = 0x80000000;

inline constexpr int sig_block = 0;
inline constexpr int sig_unblock = 1;
inline constexpr int sig_setmask = 2;

// The kernel's struct sigaction (glibc's differs).
struct sigaction {
  uint64_t handler;
  uint64_t flags;
  uint64_t restorer;
  uint64_t mask;
};
static_assert(sizeof(sigaction) == 32);

struct stack_t {
  uint64_t sp;
  int32_t flags;
  int32_t pad0;
  uint64_t size;
};
static_assert(sizeof(stack_t) == 24);
inline constexpr int32_t ss_onstack = 1;
inline constexpr int32_t ss_disable = 2;
inline constexpr int32_t ss_autodisarm = int32_t(0x80000000);
inline constexpr uint64_t minsigstksz = 2048;

inline constexpr int32_t si_user = 0;
inline constexpr int32_t si_kernel = 0x80;
inline constexpr int32_t si_queue = -1;
inline constexpr int32_t si_tkill = -6;
inline constexpr int32_t segv_maperr = 1;
inline constexpr int32_t segv_accerr = 2;
inline constexpr int32_t fpe_intdiv = 1;
inline constexpr int32_t fpe_fltinv = 7;
inline constexpr int32_t ill_illopn = 2;
inline constexpr int32_t bus_adraln = 1;
inline constexpr int32_t bus_adrerr = 2;
inline constexpr int32_t trap_brkpt = 1;
inline constexpr int32_t trap_trace = 2;

struct siginfo {
  int32_t signo;
  int32_t err;
  int32_t code;
  int32_t pad0;
  union {
    struct {
      int32_t pid;
      uint32_t uid;
      uint64_t value;
    } kill;
    struct {
      uint64_t addr;
    } fault;
    uint8_t pad[112];
  };
};
static_assert(sizeof(siginfo) == 128 && offsetof(siginfo, kill) == 16);

struct sigcontext {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
  uint16_t cs, gs, fs, ss;
  uint64_t err;
  uint64_t trapno;
  uint64_t oldmask;
  uint64_t cr2;
  uint64_t fpstate;
  uint64_t reserved[8];
};
static_assert(sizeof(sigcontext) == 256 && offsetof(sigcontext, rip) == 128 && offsetof(sigcontext, fpstate) == 184);

struct ucontext {
  uint64_t flags;
  uint64_t link;
  stack_t stack;
  sigcontext mcontext;
  uint64_t sigmask;
};
static_assert(sizeof(ucontext) == 304 && offsetof(ucontext, mcontext) == 40 && offsetof(ucontext, sigmask) == 296);
inline constexpr uint64_t uc_fp_xstate = 1;
inline constexpr uint64_t uc_sigcontext_ss = 2;
inline constexpr uint64_t uc_strict_restore_ss = 4;

struct rt_sigframe {
  uint64_t pretcode;
  ucontext uc;
  siginfo info;
};
static_assert(sizeof(rt_sigframe) == 440 && offsetof(rt_sigframe, uc) == 8 && offsetof(rt_sigframe, info) == 312);

// In the software-reserved bytes (464..511) of the saved FXSAVE area.
struct fpx_sw_bytes {
  uint32_t magic1;
  uint32_t extended_size;
  uint64_t xfeatures;
  uint32_t xstate_size;
  uint32_t padding[7];
};
static_assert(sizeof(fpx_sw_bytes) == 48);
inline constexpr uint32_t fp_xstate_magic1 = 0x46505853;
inline constexpr uint32_t fp_xstate_magic2 = 0x46505845;

}  // namespace solaster::kernel::abi

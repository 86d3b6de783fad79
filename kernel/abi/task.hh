// Threads, futexes, limits, process information.
// Spec: Linux include/uapi/linux/{sched,futex,resource,prctl,membarrier,sysinfo,utsname}.h,
//       arch/x86/include/uapi/asm/prctl.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel/abi/time.hh"

namespace solaster::kernel::abi {

inline constexpr uint64_t clone_vm = 0x100;
inline constexpr uint64_t clone_fs = 0x200;
inline constexpr uint64_t clone_files = 0x400;
inline constexpr uint64_t clone_sighand = 0x800;
inline constexpr uint64_t clone_vfork = 0x4000;
inline constexpr uint64_t clone_thread = 0x10000;
inline constexpr uint64_t clone_sysvsem = 0x40000;
inline constexpr uint64_t clone_settls = 0x80000;
inline constexpr uint64_t clone_parent_settid = 0x100000;
inline constexpr uint64_t clone_child_cleartid = 0x200000;
inline constexpr uint64_t clone_detached = 0x400000;
inline constexpr uint64_t clone_child_settid = 0x1000000;
inline constexpr uint64_t clone_io = 0x80000000;

struct clone_args {
  uint64_t flags;
  uint64_t pidfd;
  uint64_t child_tid;
  uint64_t parent_tid;
  uint64_t exit_signal;
  uint64_t stack;
  uint64_t stack_size;
  uint64_t tls;
  uint64_t set_tid;
  uint64_t set_tid_size;
  uint64_t cgroup;
};
static_assert(sizeof(clone_args) == 88);
inline constexpr size_t clone_args_size_ver0 = 64;

struct robust_list_head {
  uint64_t list;
  int64_t futex_offset;
  uint64_t list_op_pending;
};
static_assert(sizeof(robust_list_head) == 24);

inline constexpr int futex_wait = 0;
inline constexpr int futex_wake = 1;
inline constexpr int futex_requeue = 3;
inline constexpr int futex_cmp_requeue = 4;
inline constexpr int futex_wake_op = 5;
inline constexpr int futex_wait_bitset = 9;
inline constexpr int futex_wake_bitset = 10;
inline constexpr int futex_private_flag = 128;
inline constexpr int futex_clock_realtime_flag = 256;
inline constexpr uint32_t futex_waiters = 0x80000000;
inline constexpr uint32_t futex_owner_died = 0x40000000;
inline constexpr uint32_t futex_tid_mask = 0x3fffffff;
inline constexpr size_t robust_list_limit = 2048;

inline constexpr int arch_set_gs = 0x1001;
inline constexpr int arch_set_fs = 0x1002;
inline constexpr int arch_get_fs = 0x1003;
inline constexpr int arch_get_gs = 0x1004;

inline constexpr int pr_set_name = 15;
inline constexpr int pr_get_name = 16;
inline constexpr int pr_get_dumpable = 3;
inline constexpr int pr_set_dumpable = 4;
inline constexpr int pr_set_pdeathsig = 1;
inline constexpr int pr_get_pdeathsig = 2;
inline constexpr int pr_set_no_new_privs = 38;
inline constexpr int pr_get_no_new_privs = 39;
inline constexpr int pr_set_timerslack = 29;
inline constexpr int pr_get_timerslack = 30;
inline constexpr int pr_capbset_read = 23;
inline constexpr int pr_set_vma = 0x53564d41;

struct rlimit {
  uint64_t cur;
  uint64_t max;
};
inline constexpr uint64_t rlim_infinity = ~0ull;
inline constexpr int rlimit_cpu = 0;
inline constexpr int rlimit_fsize = 1;
inline constexpr int rlimit_data = 2;
inline constexpr int rlimit_stack = 3;
inline constexpr int rlimit_core = 4;
inline constexpr int rlimit_rss = 5;
inline constexpr int rlimit_nproc = 6;
inline constexpr int rlimit_nofile = 7;
inline constexpr int rlimit_memlock = 8;
inline constexpr int rlimit_as = 9;
inline constexpr int rlimit_sigpending = 11;
inline constexpr int rlimit_count = 16;

struct rusage {
  timeval utime;
  timeval stime;
  int64_t maxrss, ixrss, idrss, isrss;
  int64_t minflt, majflt, nswap, inblock, oublock;
  int64_t msgsnd, msgrcv, nsignals, nvcsw, nivcsw;
};
static_assert(sizeof(rusage) == 144);
inline constexpr int rusage_self = 0;
inline constexpr int rusage_children = -1;
inline constexpr int rusage_thread = 1;

struct utsname {
  char sysname[65];
  char nodename[65];
  char release[65];
  char version[65];
  char machine[65];
  char domainname[65];
};
static_assert(sizeof(utsname) == 390);

struct sysinfo {
  int64_t uptime;
  uint64_t loads[3];
  uint64_t totalram;
  uint64_t freeram;
  uint64_t sharedram;
  uint64_t bufferram;
  uint64_t totalswap;
  uint64_t freeswap;
  uint16_t procs;
  uint16_t pad0;
  uint32_t pad1;
  uint64_t totalhigh;
  uint64_t freehigh;
  uint32_t mem_unit;
  uint32_t pad2;
};
static_assert(sizeof(sysinfo) == 112);

inline constexpr int membarrier_cmd_query = 0;
inline constexpr int membarrier_cmd_global = 1;
inline constexpr int membarrier_cmd_private_expedited = 8;
inline constexpr int membarrier_cmd_register_private_expedited = 16;

inline constexpr uint32_t grnd_nonblock = 1;
inline constexpr uint32_t grnd_random = 2;
inline constexpr uint32_t grnd_insecure = 4;

}  // namespace solaster::kernel::abi

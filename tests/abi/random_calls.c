// abi: timeout=120 cpus=2
// Random system calls with random arguments from two threads: whatever comes back, the kernel stays. In the guest only
// (on Linux they could do harm, and it is not Linux that is tested). Another seed and more calls: random_calls SEED
// CALLS.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define CALLS 12000
#define ARENA (64 * 4096ul)

static const int numbers[] = {
    SYS_read,
    SYS_write,
    SYS_open,
    SYS_close,
    SYS_stat,
    SYS_fstat,
    SYS_lstat,
    SYS_poll,
    SYS_lseek,
    SYS_mmap,
    SYS_mprotect,
    SYS_munmap,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_ioctl,
    SYS_pread64,
    SYS_pwrite64,
    SYS_readv,
    SYS_writev,
    SYS_access,
    SYS_pipe,
    SYS_sched_yield,
    SYS_mremap,
    SYS_msync,
    SYS_mincore,
    SYS_madvise,
    SYS_dup,
    SYS_dup2,
    SYS_getpid,
    SYS_uname,
    SYS_fcntl,
    SYS_fsync,
    SYS_ftruncate,
    SYS_getcwd,
    SYS_chdir,
    SYS_mkdir,
    SYS_rmdir,
    SYS_creat,
    SYS_unlink,
    SYS_readlink,
    SYS_umask,
    SYS_gettimeofday,
    SYS_getrlimit,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_times,
    SYS_getgroups,
    SYS_getresuid,
    SYS_rt_sigpending,
    SYS_sigaltstack,
    SYS_statfs,
    SYS_prctl,
    SYS_mlock,
    SYS_time,
    SYS_futex,
    SYS_sched_setaffinity,
    SYS_sched_getaffinity,
    SYS_getdents64,
    SYS_fadvise64,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_openat,
    SYS_mkdirat,
    SYS_newfstatat,
    SYS_unlinkat,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_utimensat,
    SYS_eventfd2,
    SYS_dup3,
    SYS_pipe2,
    SYS_prlimit64,
    SYS_getcpu,
    SYS_getrandom,
    SYS_membarrier,
    SYS_mlock2,
    SYS_statx,
    SYS_close_range,
    SYS_faccessat2,
    SYS_clone3,
    SYS_socket,
    SYS_fork,
    SYS_execve,
    SYS_nanosleep,
    SYS_rt_sigqueueinfo,
    SYS_arch_prctl,
    SYS_tgkill,
    1000,
    -1,
};

static char* arena;
static volatile int running;
static uint64_t seed = 1;
static int calls = CALLS;
static volatile long last[2][8];  // for a debugger: what each thread was doing

static uint64_t next(uint64_t* s) {
  *s ^= *s << 13;
  *s ^= *s >> 7;
  return *s ^= *s << 17;
}

static long value(uint64_t* s) {
  static const long edges[] = {0,
                               1,
                               -1,
                               2,
                               3,
                               4,
                               8,
                               16,
                               88,
                               255,
                               4095,
                               4096,
                               4097,
                               65536,
                               0x7fffffff,
                               0x80000000,
                               0xffffffff,
                               0x7fffffffffffffff,
                               (long)0x8000000000000000,
                               (long)0xffff800000000000,
                               (long)0xffffffff80000000,
                               -4096,
                               0x7ffffffff000,
                               0x7fffffffffff,
                               0x1000,
                               0x10000};
  uint64_t r = next(s);
  switch (r % 4) {
    case 0:
      return (long)(next(s) % 14);
    case 1:
      return edges[next(s) % (sizeof edges / sizeof edges[0])];
    case 2:
      return (long)(arena + next(s) % ARENA);
    default:
      return (long)(arena + next(s) % 64 * 4096);
  }
}

// What would end the test rather than the kernel.
static void tame(long number, long* a, uint64_t* s) {
  uint64_t at = (uint64_t)arena;
  if (number == SYS_mmap) {
    a[3] &= ~(0x100010l);
    a[1] = (long)(next(s) % ARENA);
  }
  if (number == SYS_munmap || number == SYS_mprotect || number == SYS_mremap || number == SYS_madvise) {
    a[0] = (long)(at + ARENA / 2 + next(s) % (ARENA / 2) / 4096 * 4096);
    a[1] = (long)(next(s) % (at + ARENA - (uint64_t)a[0]) + 1);
    a[2] &= 0xfffff;
    a[3] &= ~2l;
  }
  if (number == SYS_rt_sigaction)
    a[1] = 0;
  if (number == SYS_arch_prctl && a[0] == 0x1002)
    a[0] = 0x1003;
  if (number == SYS_tgkill || number == SYS_rt_sigqueueinfo)
    a[0] = 4711;
  if (number == SYS_clone3)
    a[1] = 8;
  if (number == SYS_futex)
    a[1] &= 0x1ff;
  if ((number == SYS_dup2 || number == SYS_dup3) && (a[1] & 0xffffffff) >= 500)
    a[1] = 7;
  if (number == SYS_close_range)
    a[0] = 4, a[1] = 12;
  if (number == SYS_close && (int)a[0] >= 500)
    a[0] = 5;
  if (number == SYS_ftruncate)
    a[1] &= 0xfffff;
  if (number == SYS_pwrite64)
    a[3] &= 0xfffff;
  if (number == SYS_lseek)
    a[1] &= 0xfffff;
}

static void* fuzz(void* p) {
  int me = (int)(intptr_t)p;
  uint64_t s = 0x9e3779b97f4a7c15u * seed + (uint64_t)me;
  for (int i = 0; i < calls; i++) {
    long number = numbers[next(&s) % (sizeof numbers / sizeof numbers[0])], a[6];
    for (int n = 0; n < 6; n++)
      a[n] = value(&s);
    tame(number, a, &s);
    last[me][0] = number;
    for (int n = 0; n < 6; n++)
      last[me][n + 1] = a[n];
    syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    if (i % 64 == 0) {  // a fresh second half, paths in the first
      mmap(arena + ARENA / 2, ARENA / 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      for (int n = 0; n < 32; n++)
        snprintf(arena + n * 4096, 64, "/tmp/random/%d", n % 5);
      static const char* const names[] = {
          "/", "/tmp", "/proc/self/maps", "/dev/null", "/dev/zero", "/proc/self/fd/1", "/sys/devices", "no/where"};
      for (int n = 0; n < 8; n++)
        strcpy(arena + n * 8192, names[n]);
    }
  }
  running--;
  return NULL;
}

static void ignore(int n) {
  (void)n;
}

int main(int argc, char** argv) {
  if (argc > 1)
    seed = strtoull(argv[1], NULL, 0);
  if (argc > 2)
    calls = atoi(argv[2]);
  struct utsname u;
  uname(&u);
  if (!strstr(u.release, "solaster")) {
    printf("survived\n");
    return 0;
  }
  dup2(1, 500);
  struct sigaction a = {.sa_handler = ignore};  // no SA_RESTART: what blocks is interrupted
  sigaction(SIGUSR1, &a, NULL);
  signal(SIGPIPE, SIG_IGN);
  arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mkdir("/tmp", 0700), mkdir("/tmp/random", 0700);
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 14; fd++)
    if (fd != null)
      dup2(null, fd);
  pthread_t t[2];
  running = 2;
  for (int i = 0; i < 2; i++)
    pthread_create(&t[i], NULL, fuzz, (void*)(intptr_t)i);
  while (running > 0) {
    usleep(3000);
    for (int i = 0; i < 2; i++)
      pthread_kill(t[i], SIGUSR1);
  }
  for (int i = 0; i < 2; i++)
    pthread_join(t[i], NULL);
  write(500, "survived\n", 9);
  _exit(0);
}

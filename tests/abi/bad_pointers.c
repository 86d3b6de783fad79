// Every kind of bad pointer in every call that takes one is EFAULT, or what Linux says; never the end of the kernel.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static void* bad[6];
static const char* const names[] = {"null", "unmapped", "protected", "kernel", "non-canonical", "top"};

static void report(const char* what, long (*call)(void*)) {
  printf("%s:", what);
  for (int i = 0; i < 6; i++) {
    errno = 0;
    long r = call(bad[i]);
    printf(" %s", r == -1 ? strerrorname_np(errno) : r == 0 ? "0" : "positive");
  }
  printf("\n");
}

static int file, pipe_ends[2];

#define CALL(name, ...)          \
  static long name(void* p) {    \
    return syscall(__VA_ARGS__); \
  }
CALL(t_write, SYS_write, file, p, 10)
CALL(t_write_pipe, SYS_write, pipe_ends[1], p, 10)
CALL(t_read, SYS_read, file, p, 10)
CALL(t_pread, SYS_pread64, file, p, 10, 0)
CALL(t_pwrite, SYS_pwrite64, file, p, 10, 0)
CALL(t_readv, SYS_readv, file, p, 1)
CALL(t_writev, SYS_writev, file, p, 1)
CALL(t_open, SYS_open, p, O_RDONLY)
CALL(t_stat, SYS_stat, "/", p)
CALL(t_stat_path, SYS_stat, p, p)
CALL(t_fstat, SYS_fstat, file, p)
CALL(t_statx, SYS_statx, AT_FDCWD, "/", 0, 0x7ff, p)
CALL(t_access, SYS_access, p, F_OK)
CALL(t_readlink, SYS_readlink, "/proc/self/exe", p, 100)
CALL(t_getcwd, SYS_getcwd, p, 100)
CALL(t_uname, SYS_uname, p)
CALL(t_sysinfo, SYS_sysinfo, p)
CALL(t_getrandom, SYS_getrandom, p, 16, 0)
CALL(t_clock_gettime, SYS_clock_gettime, CLOCK_MONOTONIC, p)
CALL(t_nanosleep, SYS_nanosleep, p, NULL)
CALL(t_futex_wait, SYS_futex, p, 0, 0, NULL)
CALL(t_futex_wake, SYS_futex, p, 1, 1)
CALL(t_sigaction, SYS_rt_sigaction, SIGUSR1, p, NULL, 8)
CALL(t_sigaction_old, SYS_rt_sigaction, SIGUSR1, NULL, p, 8)
CALL(t_sigprocmask, SYS_rt_sigprocmask, SIG_BLOCK, p, NULL, 8)
CALL(t_sigpending, SYS_rt_sigpending, p, 8)
CALL(t_sigaltstack, SYS_sigaltstack, p, NULL)
CALL(t_getrlimit, SYS_getrlimit, RLIMIT_STACK, p)
CALL(t_prlimit, SYS_prlimit64, 0, RLIMIT_STACK, NULL, p)
CALL(t_getrusage, SYS_getrusage, 0, p)
CALL(t_pipe, SYS_pipe, p)
CALL(t_poll, SYS_poll, p, 1, 0)
CALL(t_getdents, SYS_getdents64, 3, p, 1000)
CALL(t_affinity, SYS_sched_getaffinity, 0, 128, p)
CALL(t_set_affinity, SYS_sched_setaffinity, 0, 128, p)
CALL(t_name, SYS_prctl, PR_SET_NAME, p)
CALL(t_get_name, SYS_prctl, PR_GET_NAME, p)
CALL(t_ioctl, SYS_ioctl, pipe_ends[0], 0x541b, p)
CALL(t_gettimeofday, SYS_gettimeofday, p, NULL)
CALL(t_time, SYS_time, p)
CALL(t_chdir, SYS_chdir, p)
CALL(t_unlink, SYS_unlink, p)
CALL(t_mkdir, SYS_mkdir, p, 0700)
CALL(t_getcpu, SYS_getcpu, p, NULL)
CALL(t_clone3, SYS_clone3, p, 88)
CALL(t_fs, SYS_arch_prctl, 0x1003, p)

static long t_iovec(void* p) {
  struct iovec v[2] = {{"good", 4}, {p, 4}};
  return writev(file, v, 2);
}

int main(void) {
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  char* page = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(page + 4096, 4096);
  mprotect(page + 2 * 4096, 4096, PROT_NONE);
  bad[0] = NULL;
  bad[1] = page + 4096;
  bad[2] = page + 2 * 4096;
  bad[3] = (void*)0xffffffff80000000;
  bad[4] = (void*)0x8000000000000000;
  bad[5] = (void*)-4096l;
  printf("pointers:");
  for (int i = 0; i < 6; i++)
    printf(" %s", names[i]);
  printf("\n");
  int dir = open("/", O_RDONLY | O_DIRECTORY);
  dup2(dir, 3);
  mkdir("/tmp", 0777);
  file = open("/tmp/abi-bad-pointers", O_RDWR | O_CREAT | O_TRUNC, 0600);
  write(file, "0123456789012345678901234567890123456789", 40);
  lseek(file, 0, SEEK_SET);
  pipe(pipe_ends);
#define REPORT(name) report(#name, t_##name)
  REPORT(write), REPORT(write_pipe), REPORT(read), REPORT(pread), REPORT(pwrite), REPORT(readv), REPORT(writev);
  REPORT(open), REPORT(stat), REPORT(stat_path), REPORT(fstat), REPORT(statx), REPORT(access), REPORT(readlink),
      REPORT(getcwd);
  REPORT(uname), REPORT(sysinfo), REPORT(getrandom), REPORT(clock_gettime), REPORT(nanosleep);
  REPORT(futex_wait), REPORT(futex_wake), REPORT(sigaction), REPORT(sigaction_old), REPORT(sigprocmask),
      REPORT(sigpending);
  REPORT(sigaltstack), REPORT(getrlimit), REPORT(prlimit), REPORT(getrusage), REPORT(pipe), REPORT(poll),
      REPORT(getdents);
  REPORT(affinity), REPORT(set_affinity), REPORT(name), REPORT(get_name), REPORT(ioctl), REPORT(gettimeofday),
      REPORT(time);
  REPORT(chdir), REPORT(unlink), REPORT(mkdir), REPORT(getcpu), REPORT(clone3), REPORT(fs);
  lseek(file, 0, SEEK_SET);
  report("second iovec", t_iovec);

  // Half of the memory is good: what fits is moved.
  char* edge = page + 4096 - 6;
  memset(edge, 'e', 6);
  lseek(file, 0, SEEK_SET);
  printf("read over the edge: %zd\n", read(file, edge, 20));
  memcpy(edge, "/tmp/x", 6);
  printf("path over the edge: %s\n", open(edge, O_RDONLY) == -1 ? strerrorname_np(errno) : "opened");
  printf("length over the end: %s\n", read(file, page, (size_t)-1 >> 1) >= 0 ? "ok" : strerrorname_np(errno));
  unlink("/tmp/abi-bad-pointers");
  return 0;
}

// Calls that could be answered with "yes" and nothing done: each keeps what it is told, does it, or says what Linux
// says.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}
static long raw(long n, long a, long b, long c) {
  return syscall(n, a, b, c, 0, 0);
}

static void* inherited(void* p) {
  (void)p;
  printf("in a new thread: %d %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), (int)prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));
  return NULL;
}

static void flags(void) {
  int s = -1;
  prctl(PR_SET_PDEATHSIG, 0);  // whoever started the test may have asked for one
  printf("no_new_privs: %d", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  printf(", wrong: %s", error(prctl(PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0)));
  printf(" %s", error(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0)));
  printf(", set: %s", error(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
  printf(", now %d, off again: %s\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
         error(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)));
  prctl(PR_GET_PDEATHSIG, &s);
  printf("pdeathsig: %d, 99: %s", s, error(prctl(PR_SET_PDEATHSIG, 99)));
  printf(", 15: %s", error(prctl(PR_SET_PDEATHSIG, 15)));
  prctl(PR_GET_PDEATHSIG, &s);
  printf(", now %d\n", s);
  prctl(PR_SET_TIMERSLACK, 12345, 0, 0, 0);
  printf("timer slack: %d", (int)prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));
  pthread_t t;
  printf("\n");
  pthread_create(&t, NULL, inherited, NULL);
  pthread_join(t, NULL);
  prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0);
  printf("timer slack by default: %d\n", (int)prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) > 0);
  printf("dumpable 0: %s", error(prctl(PR_SET_DUMPABLE, 0)));
  printf(", now %d, 7: %s\n", prctl(PR_GET_DUMPABLE), error(prctl(PR_SET_DUMPABLE, 7)));
  prctl(PR_SET_DUMPABLE, 1);
  printf("no such option: %s\n", error(prctl(123456, 0, 0, 0, 0)));
}

static void scheduling(void) {
  struct sched_param none = {0}, some = {5};
  int nobody = 999999;
  printf("getscheduler: %d, %s, %s\n", sched_getscheduler(0), error(sched_getscheduler(nobody)),
         error(sched_getscheduler(-1)));
  printf("getparam: %s, %s, %s, %s\n", error(sched_getparam(0, &some)), error(sched_getparam(nobody, &some)),
         error(sched_getparam(-5, &some)), error(raw(SYS_sched_getparam, 0, 0, 0)));
  some.sched_priority = 5;
  printf("setscheduler: other %s, other at 5 %s, nobody %s, -1 %s, policy 77 %s, fifo at 0 %s\n",
         error(sched_setscheduler(0, SCHED_OTHER, &none)), error(sched_setscheduler(0, SCHED_OTHER, &some)),
         error(sched_setscheduler(nobody, SCHED_OTHER, &none)), error(sched_setscheduler(-1, SCHED_OTHER, &none)),
         error(sched_setscheduler(0, 77, &none)), error(sched_setscheduler(0, SCHED_FIFO, &none)));
  printf("batch: %s, now %d", error(sched_setscheduler(0, SCHED_BATCH, &none)), sched_getscheduler(0));
  printf(", other: %s, now %d\n", error(sched_setscheduler(0, SCHED_OTHER, &none)), sched_getscheduler(0));
  printf("setparam: %s, %s, %s\n", error(sched_setparam(0, &none)), error(sched_setparam(0, &some)),
         error(sched_setparam(nobody, &none)));
  printf("priorities: %d %d %d %d %s\n", sched_get_priority_min(SCHED_FIFO), sched_get_priority_max(SCHED_RR),
         sched_get_priority_min(SCHED_BATCH), sched_get_priority_max(SCHED_IDLE), error(sched_get_priority_max(77)));
  cpu_set_t c;
  printf("getaffinity of nobody: %s\n", error(sched_getaffinity(nobody, sizeof c, &c)));
}

static long start;
static long nicer_by(void) {
  return start - raw(SYS_getpriority, PRIO_PROCESS, 0, 0);
}
static void* nicer(void* p) {
  printf("inherited: %ld\n", nicer_by());
  setpriority(PRIO_PROCESS, 0, (int)(20 - start) + 5);
  printf("own: %ld\n", nicer_by());
  return p;
}

static void priorities(void) {
  start = raw(SYS_getpriority, PRIO_PROCESS, 0, 0);
  printf("getpriority: %s", error(raw(SYS_getpriority, -1, 0, 0)));
  printf(" %s", error(raw(SYS_getpriority, 7, 0, 0)));
  printf(" %s", error(raw(SYS_getpriority, PRIO_PROCESS, 999999, 0)));
  printf(" %s\n", error(raw(SYS_getpriority, PRIO_PROCESS, -1, 0)));
  printf("setpriority: %s", error(setpriority(7, 0, 3)));
  printf(" %s", error(setpriority(PRIO_PROCESS, 999999, 3)));
  printf(" %s, nicer by %ld\n", error(setpriority(PRIO_PROCESS, 0, (int)(20 - start) + 3)), nicer_by());
  pthread_t t;
  pthread_create(&t, NULL, nicer, NULL);
  pthread_join(t, NULL);
  printf("still: %ld\n", nicer_by());
  setpriority(PRIO_PROCESS, 0, 100);
  printf("no more than 19: %ld\n", raw(SYS_getpriority, PRIO_PROCESS, 0, 0));
}

// Two threads on one CPU, one of them as nice as can be.
static int go, stop;
static void* works(void* p) {
  long* n = p;
  setpriority(PRIO_PROCESS, 0, (int)n[1]);
  while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
    sched_yield();
  while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
    n[0]++;
  return NULL;
}
static void shares(void) {
  cpu_set_t all, one;
  sched_getaffinity(0, sizeof all, &all);
  CPU_ZERO(&one);
  for (int i = 0; i < 64; i++)
    if (CPU_ISSET(i, &all)) {
      CPU_SET(i, &one);
      break;
    }
  sched_setaffinity(0, sizeof one, &one);
  static long work[2][16] = {{0, 0}, {0, 19}};
  pthread_t t[2];
  for (int i = 0; i < 2; i++)
    pthread_create(&t[i], NULL, works, work[i]);
  go = 1;
  struct timespec d = {0, 700000000};
  nanosleep(&d, NULL);
  stop = 1;
  for (int i = 0; i < 2; i++)
    pthread_join(t[i], NULL);
  printf("the nice one gets less: %d\n", work[1][0] / 4 * 5 < work[0][0]);
  sched_setaffinity(0, sizeof all, &all);
}

static void* burns(void* p) {
  clockid_t id;
  pthread_getcpuclockid(pthread_self(), &id);
  struct timespec t;
  do
    clock_gettime(id, &t);
  while (t.tv_sec == 0 && t.tv_nsec < 50000000);
  *(clockid_t*)p = id;
  while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST))
    sched_yield();
  return NULL;
}
static void cpu_clocks(void) {
  stop = 0;
  static volatile clockid_t id;
  pthread_t t;
  pthread_create(&t, NULL, burns, (void*)&id);
  while (!id)
    usleep(1000);
  struct timespec other, own;
  clock_gettime(id, &other);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own);
  long long ns = other.tv_sec * 1000000000ll + other.tv_nsec;
  printf("another thread's CPU time: %d\n", ns >= 50000000);
  stop = 1;
  pthread_join(t, NULL);
  printf("nobody's: %s\n", error(clock_gettime((clockid_t)(~(unsigned)999999 << 3 | 6), &own)));
}

static void limits(void) {
  struct rlimit old, r, now;
  printf("getrlimit: %s, no such limit: %s, bad pointer: %s\n", error(getrlimit(RLIMIT_NOFILE, &old)),
         error(raw(SYS_getrlimit, 99, (long)&r, 0)), error(raw(SYS_getrlimit, RLIMIT_NOFILE, 8, 0)));
  r = (struct rlimit){30, 20};
  printf("soft above hard: %s\n", error(setrlimit(RLIMIT_NOFILE, &r)));
  r = (struct rlimit){20, old.rlim_max};
  printf("20 files: %s", error(setrlimit(RLIMIT_NOFILE, &r)));
  getrlimit(RLIMIT_NOFILE, &now);
  int fd, last = -1;
  while ((fd = dup(0)) >= 0)
    last = fd;
  printf(", now %d, the last is %d, then %s, dup2 to 25: %s\n", (int)now.rlim_cur, last, error(fd), error(dup2(0, 25)));
  for (fd = 3; fd <= last; fd++)
    close(fd);
  setrlimit(RLIMIT_NOFILE, &old);
  printf("dup2 to 25 again: %d\n", dup2(0, 25));
  r = (struct rlimit){0, 0};
  printf("no core: %s", error(setrlimit(RLIMIT_CORE, &r)));
  getrlimit(RLIMIT_CORE, &now);
  printf(", now %d %d\n", (int)now.rlim_cur, (int)now.rlim_max);
  // None of the signals finds room, but kill's, which needs none.
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &s, NULL);
  getrlimit(RLIMIT_SIGPENDING, &old);
  r = (struct rlimit){0, old.rlim_max};
  printf("no signals: %s", error(setrlimit(RLIMIT_SIGPENDING, &r)));
  int sent = 0;
  for (int i = 0; i < 10; i++)
    sent += sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}) == 0;
  printf(", sent %d, then %s, kill: %s\n", sent, error(sigqueue(getpid(), SIGRTMIN, (union sigval){0})),
         error(kill(getpid(), SIGRTMIN)));
  int taken = 0;
  struct timespec zero = {0, 0};
  while (sigtimedwait(&s, NULL, &zero) > 0)
    taken++;
  printf("taken %d\n", taken);
  struct rlimit64 {
    unsigned long long soft, hard;
  } before, wanted = {8, old.rlim_max};
  printf("prlimit: %s", error(syscall(SYS_prlimit64, 0, RLIMIT_SIGPENDING, &wanted, &before)));
  printf(", was %d", (int)before.soft);
  syscall(SYS_prlimit64, 0, RLIMIT_SIGPENDING, NULL, &before);
  printf(", is %d, nobody: %s\n", (int)before.soft, error(syscall(SYS_prlimit64, 999999, RLIMIT_CORE, NULL, &before)));
}

int main(void) {
  flags();
  limits();
  scheduling();
  shares();
  cpu_clocks();
  priorities();
  return 0;
}

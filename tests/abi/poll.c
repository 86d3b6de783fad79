// poll and ppoll: what they report, time, masks; and no wake-up is lost while other threads keep the descriptor table
// busy.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void reports(void) {
  int p[2];
  if (pipe(p))
    return;
  struct pollfd f[4] = {{p[0], POLLIN, -1}, {p[1], POLLOUT, -1}, {-1, POLLIN, 77}, {999, POLLIN, 0}};
  printf("poll: %d", poll(f, 4, -1));
  for (int i = 0; i < 4; i++)
    printf(" %x", (unsigned short)f[i].revents);
  printf("\nnothing: %d %x\n", poll(f, 1, 0), f[0].revents);
  if (write(p[1], "x", 1) != 1)
    return;
  printf("readable: %d %x\n", poll(f, 1, -1), f[0].revents);
  close(p[1]);
  printf("hung up: %d %x\n", poll(f, 1, -1), f[0].revents);
  close(p[0]);
  printf("bad pointer: %s, too many: %s, none at all: %d\n", error(poll((struct pollfd*)8, 1, 0)),
         error(poll(f, 1u << 30, 0)), poll(NULL, 0, 1));
  // More than a few.
  static struct pollfd many[200];
  int e = eventfd(1, 0);
  for (int i = 0; i < 200; i++)
    many[i] = (struct pollfd){i % 2 ? e : -1, POLLIN, 0};
  printf("many: %d %x %x\n", poll(many, 200, -1), many[0].revents, many[199].revents);
  close(e);
}

static volatile int got;
static void handler(int n) {
  got = n;
}

static void with_masks(void) {
  int e = eventfd(0, 0);
  struct pollfd f = {e, POLLIN, 0};
  struct sigaction a = {.sa_handler = handler};
  sigaction(SIGUSR1, &a, NULL);
  sigset_t usr1, none, old;
  sigemptyset(&none);
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr1, &old);
  struct timespec zero = {0, 0}, soon = {0, 30000000}, bad = {0, -1};
  double before = now();
  printf("ppoll, time: %d", ppoll(&f, 1, &soon, NULL));
  printf(", long enough: %d\n", now() - before >= 0.030);
  kill(getpid(), SIGUSR1);
  got = 0;
  printf("blocked: %d, got %d\n", ppoll(&f, 1, &zero, &usr1), got);
  printf("let in: %s", error(ppoll(&f, 1, NULL, &none)));
  printf(", got %d", got);
  sigprocmask(0, NULL, &old);
  printf(", mask back: %d\n", sigismember(&old, SIGUSR1));
  printf("bad time: %s\n", error(ppoll(&f, 1, &bad, NULL)));
  printf("mask of another size: %s\n", error(syscall(SYS_ppoll, &f, 1, NULL, &none, 4)));
  // The raw call says how much time was left.
  struct timespec left = {5, 0};
  eventfd_write(e, 1);
  long r = syscall(SYS_ppoll, &f, 1, &left, NULL, 8);
  printf("ready: %ld, time left: %d\n", r, left.tv_sec == 4 && left.tv_nsec > 0);
  // A descriptor that is ready wins over a signal that only the mask lets in; the signal stays pending.
  kill(getpid(), SIGUSR1);
  got = 0;
  r = ppoll(&f, 1, NULL, &none);
  sigpending(&old);
  printf("ready and a signal: %ld, got %d, pending %d\n", r, got, sigismember(&old, SIGUSR1));
  sigprocmask(SIG_UNBLOCK, &usr1, NULL);
  close(e);
}

// One thread polls, one answers; the others open and close descriptors as fast as they can.
static int there, back, quiet, stop;
static void* answers(void* p) {
  for (;;) {
    // What matters has been looked at while the call still looks at the others.
    struct pollfd f[16] = {{there, POLLIN, 0}};
    for (int i = 1; i < 16; i++)
      f[i] = (struct pollfd){quiet, POLLIN, 0};
    if (poll(f, 16, -1) < 1)
      return p;
    uint64_t v;
    if (read(there, &v, 8) != 8 || v > 1)
      return p;
    eventfd_write(back, 1);
  }
}
static void* disturbs(void* p) {
  while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
    int fd = dup(there);
    struct pollfd f = {fd, POLLIN, 0};
    poll(&f, 1, 0);
    close(fd);
  }
  return p;
}

static void lost_wakes(void) {
  there = eventfd(0, 0);
  back = eventfd(0, 0);
  quiet = eventfd(0, 0);
  pthread_t t[4];
  pthread_create(&t[0], NULL, answers, NULL);
  for (int i = 1; i < 4; i++)
    pthread_create(&t[i], NULL, disturbs, NULL);
  int late = 0;
  double begin = now();
  for (int i = 0; i < 3000 && !late && now() - begin < 5; i++) {
    eventfd_write(there, 1);
    struct pollfd f = {back, POLLIN, 0};
    if (poll(&f, 1, 10000) != 1)
      late = 1;
    uint64_t v;
    if (!late && read(back, &v, 8) != 8)
      late = 2;
  }
  printf("lost wake-ups: %d\n", late);
  stop = 1;
  for (int i = 1; i < 4; i++)
    pthread_join(t[i], NULL);
  eventfd_write(there, 2);
  pthread_join(t[0], NULL);
}

int main(void) {
  reports();
  with_masks();
  lost_wakes();
  return 0;
}

// membarrier: its commands, and that it orders: with it on one side, a plain compiler barrier on the other is enough
// for Dekker's test, on any number of CPUs.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int membarrier(int command, unsigned flags) {
  return (int)syscall(SYS_membarrier, command, flags, 0);
}
static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}

static volatile int x, y, seen, round_started, round_done, stop;
#define compiler_barrier() __asm__ volatile("" ::: "memory")

static void* fast_side(void* p) {
  for (int n = 1; !stop; n++) {
    while (round_started < n && !stop)
      ;
    x = 1;
    compiler_barrier();
    seen = y;
    compiler_barrier();
    round_done = n;
  }
  return p;
}

int main(void) {
  int all = membarrier(MEMBARRIER_CMD_QUERY, 0);
  int wanted = MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
  printf("offered: %d\n", (all & wanted) == wanted);
  printf("not registered: %s\n", error(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0)));
  printf("register: %s\n", error(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0)));
  printf("expedited: %s\n", error(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0)));
  printf("flags: %s, unknown: %s\n", error(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 64)),
         error(membarrier(1 << 30, 0)));

  // The mask of the caller stays what it is, and a caller that is bound may call.
  cpu_set_t before, after, one;
  sched_getaffinity(0, sizeof before, &before);
  CPU_ZERO(&one);
  for (int i = 0; i < 64; i++)
    if (CPU_ISSET(i, &before)) {
      CPU_SET(i, &one);
      break;
    }
  sched_setaffinity(0, sizeof one, &one);
  printf("bound: %s", error(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0)));
  sched_getaffinity(0, sizeof after, &after);
  printf(", still bound: %d\n", CPU_EQUAL(&one, &after));
  sched_setaffinity(0, sizeof before, &before);

  pthread_t t;
  pthread_create(&t, NULL, fast_side, NULL);
  int both_missed = 0, rounds = CPU_COUNT(&before) > 1 ? 3000 : 50;
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int n = 1; n <= rounds; n++) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec - begin.tv_sec > 2)
      break;  // a busy host

    x = y = 0;
    __sync_synchronize();
    round_started = n;
    for (volatile int spin = 0; spin < n % 97; spin++)
      ;
    y = 1;
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0);
    int mine = x;
    while (round_done < n)
      sched_yield();
    both_missed += mine == 0 && seen == 0;
  }
  stop = 1;
  pthread_join(t, NULL);
  printf("both missed: %d\n", both_missed);
  return 0;
}

// A thread that is bound to a CPU runs on no other: from its first instruction on, after sched_setaffinity for a thread
// that sleeps, waits or runs, and when it goes on.
// abi: timeout=120
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int cpus[64], count;
static int wrong, stop;

static cpu_set_t only(int cpu) {
  cpu_set_t s;
  CPU_ZERO(&s);
  CPU_SET(cpu, &s);
  return s;
}

static void* started(void* wanted) {
  if (sched_getcpu() != (int)(long)wanted)
    __atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static void starts(void) {
  for (int i = 0; i < 800; i += 8) {
    pthread_t t[8];
    for (int k = 0; k < 8; k++) {
      int cpu = cpus[(i + k) % count];
      cpu_set_t s = only(cpu);
      pthread_attr_t a;
      pthread_attr_init(&a);
      pthread_attr_setaffinity_np(&a, sizeof s, &s);
      pthread_create(&t[k], &a, started, (void*)(long)cpu);
    }
    for (int k = 0; k < 8; k++)
      pthread_join(t[k], NULL);
  }
  printf("threads that started on a wrong CPU: %d\n", wrong);
}

// Each mover is told where to be and says where it is; how it waits meanwhile differs.
static struct mover {
  pthread_t thread;
  int kind;  // 0 spins, 1 sleeps in a pipe, 2 yields
  int pipe[2];
  int turn, seen;
  pid_t tid;
} movers[3];

static void* moves(void* p) {
  struct mover* m = p;
  __atomic_store_n(&m->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
  for (int turn = 1;; turn++) {
    char c;
    if (m->kind == 1 && read(m->pipe[0], &c, 1) != 1)
      return p;
    while (__atomic_load_n(&m->turn, __ATOMIC_SEQ_CST) < turn)
      if (m->kind == 2)
        sched_yield();
    if (__atomic_load_n(&stop, __ATOMIC_SEQ_CST))
      return p;
    m->seen = sched_getcpu();
    __atomic_add_fetch(&m->turn, 1000000, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&m->turn, __ATOMIC_SEQ_CST) >= 1000000)
      sched_yield();
  }
}

static int step(struct mover* m, int turn) {
  __atomic_store_n(&m->turn, turn, __ATOMIC_SEQ_CST);
  if (m->kind == 1 && write(m->pipe[1], "x", 1) != 1)
    return -1;
  while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST) && __atomic_load_n(&m->turn, __ATOMIC_SEQ_CST) < 1000000)
    sched_yield();
  return m->seen;
}

static void moved(int kind, const char* name) {
  struct mover* m = &movers[kind];
  m->kind = kind;
  if (pipe(m->pipe))
    return;
  pthread_create(&m->thread, NULL, moves, m);
  while (!__atomic_load_n(&m->tid, __ATOMIC_SEQ_CST))
    sched_yield();
  int bad = 0, turn = 1;
  for (; turn <= 60; turn++) {
    int cpu = cpus[turn % count];
    cpu_set_t s = only(cpu), r;
    if (sched_setaffinity(m->tid, sizeof s, &s))
      bad++;
    sched_getaffinity(m->tid, sizeof r, &r);
    bad += step(m, turn) != cpu || !CPU_EQUAL(&s, &r);
    __atomic_store_n(&m->turn, 0, __ATOMIC_SEQ_CST);
  }
  stop = 1;
  __atomic_store_n(&m->turn, turn, __ATOMIC_SEQ_CST);
  if (kind == 1 && write(m->pipe[1], "x", 1) != 1)
    bad++;
  pthread_join(m->thread, NULL);
  stop = 0;
  printf("%s: wrong %d\n", name, bad);
}

int main(void) {
  cpu_set_t all, own;
  sched_getaffinity(0, sizeof all, &all);
  for (int i = 0; i < 64; i++)
    if (CPU_ISSET(i, &all))
      cpus[count++] = i;
  starts();
  moved(0, "one that spins");
  moved(1, "one that sleeps");
  moved(2, "one that yields");
  int bad = 0;
  for (int i = 0; i < 100; i++) {
    own = only(cpus[i % count]);
    sched_setaffinity(0, sizeof own, &own);
    bad += sched_getcpu() != cpus[i % count];
  }
  printf("oneself: wrong %d\n", bad);
  CPU_ZERO(&own);
  printf("no CPU: %s\n", sched_setaffinity(0, sizeof own, &own) ? strerrorname_np(errno) : "ok");
  printf("no such thread: %s\n", sched_setaffinity(999999, sizeof all, &all) ? strerrorname_np(errno) : "ok");
  return 0;
}

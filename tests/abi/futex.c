// The futex call itself: values, timeouts, bit sets, requeueing, error numbers.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long futex(void* word, int op, unsigned value, const void* timeout, void* word2, unsigned value3) {
  return syscall(SYS_futex, word, op, value, timeout, word2, value3);
}
static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}
static double now(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t word, word2;
static int started, woken;

static void* waiter(void* bits) {
  __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
  long r = futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (unsigned)(uintptr_t)bits);
  if (r == 0)
    __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static void start(pthread_t* t, int n, unsigned bits) {
  started = woken = 0;
  for (int i = 0; i < n; i++)
    pthread_create(&t[i], NULL, waiter, (void*)(uintptr_t)bits);
  while (__atomic_load_n(&started, __ATOMIC_SEQ_CST) < n)
    usleep(1000);
  usleep(30000);  // all of them are asleep by now
}

int main(void) {
  pthread_t t[4];
  struct timespec soon = {0, 30000000}, bad = {0, 1000000000}, zero = {0, 0};
  printf("other value: %s\n", error(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0)));
  double before = now(CLOCK_MONOTONIC);
  printf("timeout: %s", error(futex(&word, FUTEX_WAIT, 0, &soon, NULL, 0)));
  double took = now(CLOCK_MONOTONIC) - before;
  printf(", long enough: %d\n", took >= 0.030 && took < 5);
  printf("zero timeout: %s, bad timeout: %s\n", error(futex(&word, FUTEX_WAIT, 0, &zero, NULL, 0)),
         error(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0)));
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  at.tv_nsec += 20000000;
  if (at.tv_nsec >= 1000000000)
    at.tv_sec++, at.tv_nsec -= 1000000000;
  before = now(CLOCK_MONOTONIC);
  printf("absolute: %s", error(futex(&word, FUTEX_WAIT_BITSET, 0, &at, NULL, ~0u)));
  took = now(CLOCK_MONOTONIC) - before;
  printf(", long enough: %d, in the past: %s\n", took > 0.015 && took < 5,
         error(futex(&word, FUTEX_WAIT_BITSET, 0, &at, NULL, ~0u)));
  clock_gettime(CLOCK_REALTIME, &at);
  at.tv_nsec += 20000000;
  if (at.tv_nsec >= 1000000000)
    at.tv_sec++, at.tv_nsec -= 1000000000;
  before = now(CLOCK_MONOTONIC);
  printf("wall clock: %s", error(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &at, NULL, ~0u)));
  took = now(CLOCK_MONOTONIC) - before;
  printf(", long enough: %d\n", took > 0.010 && took < 5);
  printf("no bits: %s %s\n", error(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0)),
         error(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0)));
  printf("odd address: %s, null: %s, unmapped: %s\n", error(futex((char*)&word + 1, FUTEX_WAIT, 0, NULL, NULL, 0)),
         error(futex(NULL, FUTEX_WAIT, 0, NULL, NULL, 0)), error(futex((void*)0x1000, FUTEX_WAIT, 0, NULL, NULL, 0)));
  printf("kernel address: %s\n", error(futex((void*)0xffff800000000000, FUTEX_WAIT, 0, NULL, NULL, 0)));
  printf("unknown: %s\n", error(futex(&word, 77, 0, NULL, NULL, 0)));
  printf("nobody to wake: %ld\n", futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0));

  start(t, 4, ~0u);
  printf("wake two: %ld", futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0));
  printf(", the rest: %ld\n", futex(&word, FUTEX_WAKE_PRIVATE, 1000, NULL, NULL, 0));
  for (int i = 0; i < 4; i++)
    pthread_join(t[i], NULL);
  printf("woken %d\n", woken);

  start(t, 3, 4);
  printf("other bits: %ld", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 3));
  printf(", their bit: %ld\n", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 6));
  for (int i = 0; i < 3; i++)
    pthread_join(t[i], NULL);

  start(t, 4, ~0u);
  printf("changed: %s", error(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void*)2l, &word2, 5)));
  printf(", woken and moved: %ld", futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void*)2l, &word2, 0));
  printf(", moved: %ld, left: %ld\n", futex(&word2, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0),
         futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
  for (int i = 0; i < 4; i++)
    pthread_join(t[i], NULL);
  printf("woken %d\n", woken);

  start(t, 2, ~0u);
  word2 = 41;
  // word2 += 1; wake one at word; if the old word2 was 41, wake ten at word (nobody waits at word2).
  long n = futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void*)10l, &word2, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 41));
  printf("wake op: %ld, word2 %u\n", n, word2);
  futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0);
  for (int i = 0; i < 2; i++)
    pthread_join(t[i], NULL);
  return 0;
}

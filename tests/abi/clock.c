// Clocks run forwards and agree; sleeping lasts at least as long as asked; sleepers wake in order.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

static void check(const char* what, int ok) {
  printf("%s: %s\n", what, ok ? "ok" : "WRONG");
}
static int64_t read_clock(clockid_t id) {
  struct timespec t;
  if (clock_gettime(id, &t))
    return -1;
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}
static int64_t read_raw(clockid_t id) {
  struct timespec t;
  if (syscall(SYS_clock_gettime, id, &t))
    return -1;
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static volatile int backwards;
static volatile int64_t shared_now;

// A clock read after another thread's read is not before it.
static void* racer(void* p) {
  for (int i = 0; i < 20000; i++) {
    int64_t seen = __atomic_load_n(&shared_now, __ATOMIC_SEQ_CST);
    int64_t now = read_clock(CLOCK_MONOTONIC);
    if (now < seen)
      backwards = 1;
    __atomic_store_n(&shared_now, now, __ATOMIC_SEQ_CST);
  }
  return p;
}

static int order[4], next_place;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void* sleeper(void* p) {
  int me = (int)(intptr_t)p;
  struct timespec t = {0, (4 - me) * 60000000l};
  nanosleep(&t, NULL);
  pthread_mutex_lock(&lock);
  order[next_place++] = me;
  pthread_mutex_unlock(&lock);
  return NULL;
}

int main(void) {
  int64_t last = 0;
  int forwards = 1;
  for (int i = 0; i < 50000; i++) {
    int64_t now = read_clock(CLOCK_MONOTONIC);
    forwards &= now >= last;
    last = now;
  }
  check("forwards", forwards);
  int agree = 1;
  for (int i = 0; i < 1000; i++) {
    int64_t a = read_clock(CLOCK_MONOTONIC), b = read_raw(CLOCK_MONOTONIC), c = read_clock(CLOCK_MONOTONIC);
    agree &= a <= b && b <= c;
  }
  check("the call and the vDSO agree", agree);
  pthread_t t[4];
  for (int i = 0; i < 3; i++)
    pthread_create(&t[i], NULL, racer, NULL);
  for (int i = 0; i < 3; i++)
    pthread_join(t[i], NULL);
  check("forwards between threads", !backwards);

  int64_t wall = read_clock(CLOCK_REALTIME);
  check("wall clock is after 2024", wall / 1000000000 > 1704067200);
  check("time", time(NULL) - wall / 1000000000 <= 1);
  struct timeval tv;
  gettimeofday(&tv, NULL);
  check("gettimeofday", tv.tv_sec - wall / 1000000000 <= 1 && tv.tv_usec < 1000000);
  check("coarse", read_clock(CLOCK_REALTIME_COARSE) > 0 && read_clock(CLOCK_MONOTONIC_COARSE) > 0 &&
                      read_clock(CLOCK_BOOTTIME) > 0);
  struct timespec res;
  check("resolution", clock_getres(CLOCK_MONOTONIC, &res) == 0 && res.tv_sec == 0 && res.tv_nsec >= 1);
  check("unknown clock", clock_gettime(77, &res) == -1 && errno == EINVAL);

  for (int ms = 1; ms <= 100; ms *= 10) {
    int64_t before = read_clock(CLOCK_MONOTONIC);
    usleep((useconds_t)ms * 1000);
    int64_t took = read_clock(CLOCK_MONOTONIC) - before;
    printf("slept %d ms: %s\n", ms, took >= ms * 1000000ll && took < 5000000000ll ? "ok" : "WRONG");
  }
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += 50000000;
  if (until.tv_nsec >= 1000000000)
    until.tv_sec++, until.tv_nsec -= 1000000000;
  int r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  check("absolute sleep", r == 0 && read_clock(CLOCK_MONOTONIC) >= until.tv_sec * 1000000000ll + until.tv_nsec);
  struct timespec past = {1, 0}, bad = {0, -1}, worse = {0, 1000000000};
  check("sleep until the past", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &past, NULL) == 0);
  check("bad times",
        nanosleep(&bad, NULL) == -1 && errno == EINVAL && nanosleep(&worse, NULL) == -1 && errno == EINVAL);
  check("bad clock", clock_nanosleep(99, 0, &past, NULL) == EINVAL);

  for (int i = 0; i < 4; i++)
    pthread_create(&t[i], NULL, sleeper, (void*)(intptr_t)i);
  for (int i = 0; i < 4; i++)
    pthread_join(t[i], NULL);
  printf("woke in order %d %d %d %d\n", order[0], order[1], order[2], order[3]);

  int64_t cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID), thread = read_clock(CLOCK_THREAD_CPUTIME_ID);
  volatile unsigned spin = 0;
  for (int64_t begin = read_clock(CLOCK_MONOTONIC); read_clock(CLOCK_MONOTONIC) - begin < 50000000;)
    spin++;
  int64_t cpu2 = read_clock(CLOCK_PROCESS_CPUTIME_ID), thread2 = read_clock(CLOCK_THREAD_CPUTIME_ID);
  check("CPU time grows", cpu2 - cpu > 5000000 && thread2 - thread > 5000000);
  usleep(100000);
  check("sleep costs none", read_clock(CLOCK_THREAD_CPUTIME_ID) - thread2 < 50000000);
  struct rusage usage;
  check("getrusage", getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec +
                                                                    usage.ru_stime.tv_sec * 1000000 +
                                                                    usage.ru_stime.tv_usec >
                                                                5000);
  struct tms tms;
  check("times", times(&tms) > 0);
  return 0;
}

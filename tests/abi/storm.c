// Everything at once for two seconds (longer on a busy machine, until all have had a turn): threads that map, protect
// and unmap, that are born and die, that sleep, wait on futexes and are interrupted by signals. Nothing may be lost,
// and no page may show what another thread wrote.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WORKERS = 4 };
static _Atomic int stop;
static _Atomic long wrong, mapped, born, handed, signals;
static _Thread_local int thread_value;

static void* mapper(void* p) {
  const unsigned char mine = (unsigned char)(uintptr_t)p;
  unsigned seed = mine * 7919u;
  while (!stop) {
    seed = seed * 1103515245u + 12345u;
    const size_t pages = 1 + (seed >> 16) % 40;
    unsigned char* at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
      wrong++;
      continue;
    }
    for (size_t i = 0; i < pages; i++) {
      if (at[i * PAGE] != 0)
        wrong++;
      at[i * PAGE] = mine;
    }
    if (pages > 2) {
      mprotect(at + PAGE, PAGE, PROT_READ);
      madvise(at + 2 * PAGE, PAGE, MADV_DONTNEED);
      if (at[2 * PAGE] != 0 || at[PAGE] != mine)
        wrong++;
      mprotect(at + PAGE, PAGE, PROT_READ | PROT_WRITE);
      at[PAGE] = mine;
    }
    for (size_t i = 0; i < pages; i++)
      if (at[i * PAGE] != mine && !(pages > 2 && i == 2))
        wrong++;
    munmap(at, pages * PAGE);
    mapped++;
  }
  return NULL;
}

static void* child(void* p) {
  thread_value = 5;
  return (void*)((uintptr_t)p + (uintptr_t)thread_value);
}

static void* breeder(void* p) {
  while (!stop) {
    pthread_t t;
    void* r = NULL;
    if (pthread_create(&t, NULL, child, (void*)37)) {
      wrong++;
      continue;
    }
    pthread_join(t, &r);
    if (r != (void*)42)
      wrong++;
    born++;
  }
  return p;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t there = PTHREAD_COND_INITIALIZER, gone = PTHREAD_COND_INITIALIZER;
static long box;

static void* giver(void* p) {
  for (long i = 1; !stop; i++) {
    pthread_mutex_lock(&lock);
    while (box && !stop)
      pthread_cond_wait(&gone, &lock);
    box = i;
    pthread_cond_signal(&there);
    pthread_mutex_unlock(&lock);
  }
  return p;
}

static void* taker(void* p) {
  long last = 0;
  while (!stop) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 1;
    pthread_mutex_lock(&lock);
    while (!box && !stop) {
      if (pthread_cond_timedwait(&there, &lock, &t) == ETIMEDOUT && !stop) {
        wrong++;
        break;
      }
    }
    if (box && box <= last)
      wrong++;
    if (box)
      last = box, handed++;
    box = 0;
    pthread_cond_signal(&gone);
    pthread_mutex_unlock(&lock);
  }
  return p;
}

static void on_signal(int n) {
  (void)n;
  volatile double x = 1.0;
  for (int i = 0; i < 10; i++)
    x = x * 1.5 + 0.25;
  signals++;
}

static void* reckoner(void* p) {
  // Floating point across switches and signals: the same sum each time.
  while (!stop) {
    double sum = 0;
    for (int i = 1; i < 20000; i++)
      sum += 1.0 / i;
    if (sum < 10.480653 || sum > 10.480706)
      wrong++;
    struct timespec nap = {0, 200000};
    nanosleep(&nap, NULL);
  }
  return p;
}

int main(void) {
  struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &a, NULL);
  pthread_t t[WORKERS + 5];
  int n = 0;
  for (int i = 0; i < WORKERS; i++)
    pthread_create(&t[n++], NULL, mapper, (void*)(uintptr_t)(i + 1));
  pthread_create(&t[n++], NULL, breeder, NULL);
  pthread_create(&t[n++], NULL, giver, NULL);
  pthread_create(&t[n++], NULL, taker, NULL);
  pthread_create(&t[n++], NULL, reckoner, NULL);
  pthread_create(&t[n++], NULL, reckoner, NULL);
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    for (int i = 0; i < n; i++)
      pthread_kill(t[i], SIGUSR1);
    usleep(3000);
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec - begin.tv_sec < 2 ||
           (now.tv_sec - begin.tv_sec < 40 && !(mapped > 0 && born > 0 && handed > 0 && signals > 0)));
  stop = 1;
  pthread_mutex_lock(&lock);
  pthread_cond_broadcast(&there);
  pthread_cond_broadcast(&gone);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < n; i++)
    pthread_join(t[i], NULL);
  printf("wrong %ld, mapped %d, born %d, handed over %d, signals %d\n", wrong, mapped > 0, born > 0, handed > 0,
         signals > 0);
  return 0;
}

// The 128 bytes below the stack pointer belong to the program: no interrupt, no signal may write there.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

// Fills the red zone, spins, and counts the bytes that changed.
static long spin(long rounds) {
  long bad;
  __asm__ volatile(
      "xor %%ebx, %%ebx\n"
      "mov %1, %%r8\n"
      "1: mov $0x5aa55aa5, %%eax\n"
      "lea -128(%%rsp), %%rdi\n"
      "mov $32, %%ecx\n"
      "cld\n"
      "2: mov %%eax, (%%rdi)\n add $4, %%rdi\n dec %%ecx\n jnz 2b\n"
      "mov $2000, %%ecx\n"
      "3: dec %%ecx\n jnz 3b\n"
      "lea -128(%%rsp), %%rdi\n"
      "mov $32, %%ecx\n"
      "4: cmp %%eax, (%%rdi)\n je 5f\n inc %%rbx\n"
      "5: add $4, %%rdi\n dec %%ecx\n jnz 4b\n"
      "dec %%r8\n jnz 1b\n"
      "mov %%rbx, %0\n"
      : "=r"(bad)
      : "r"(rounds)
      : "rax", "rbx", "rcx", "rdi", "r8", "memory", "cc");
  return bad;
}

static volatile long wrong;
static void* worker(void* p) {
  long bad = 0;
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    bad += spin(200);
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < 400);
  __atomic_add_fetch(&wrong, bad, __ATOMIC_SEQ_CST);
  return p;
}

static volatile int signals;
static void handler(int n) {
  (void)n;
  signals++;
}

int main(void) {
  pthread_t t[4];
  for (int i = 0; i < 4; i++)
    pthread_create(&t[i], NULL, worker, NULL);
  for (int i = 0; i < 4; i++)
    pthread_join(t[i], NULL);
  printf("under preemption: %ld bytes changed\n", wrong);
  struct sigaction a = {.sa_handler = handler};
  sigaction(SIGUSR1, &a, NULL);
  wrong = 0;
  pthread_create(&t[0], NULL, worker, NULL);
  for (int i = 0; i < 100; i++) {
    pthread_kill(t[0], SIGUSR1);
    usleep(1000);
  }
  pthread_join(t[0], NULL);
  printf("under signals: %ld bytes changed, some arrived: %d\n", wrong, signals > 10);
  return 0;
}

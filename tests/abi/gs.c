// A program may load a selector into GS and the data segment registers. It does no harm: system calls, interrupts,
// faults, clock and threads go on.
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void load_gs(unsigned selector) {
  __asm__ volatile("movl %0, %%gs" ::"r"(selector) : "memory");
}
static unsigned read_gs(void) {
  unsigned s;
  __asm__ volatile("movl %%gs, %0" : "=r"(s));
  return s & 0xffff;
}
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static void* in_thread(void* p) {
  load_gs(0);
  getppid();
  return p;
}
static sigjmp_buf back;
static volatile void* where;
static void on_fault(int n, siginfo_t* i, void* c) {
  (void)n, (void)c;
  where = i->si_addr;
  siglongjmp(back, 1);
}

int main(void) {
  printf("at the start: %u\n", read_gs());
  load_gs(0);
  printf("a system call: %d\n", getpid() > 0);
  load_gs(0);
  double begin = now();
  while (now() - begin < 0.03)
    load_gs(0);  // the timer's interrupts find it so
  load_gs(0);
  char* page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  load_gs(0);
  page[0] = 1;  // a page fault
  load_gs(0);
  struct timespec t = {0, 1000000};
  nanosleep(&t, NULL);
  pthread_t thread;
  pthread_create(&thread, NULL, in_thread, NULL);
  load_gs(0);
  pthread_join(thread, NULL);
  puts("null: fine");
  load_gs(0x2b);
  getppid();
  printf("the user's data segment: %x\n", read_gs());
  __asm__ volatile("movl %0, %%ds\n movl %0, %%es" ::"r"(0x2b) : "memory");
  puts("data segments: fine");
  struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &a, NULL);
  if (!sigsetjmp(back, 1))
    __asm__ volatile("movl %0, %%gs\n movl %%gs:0x18, %%eax" ::"r"(0) : "eax", "memory");
  printf("an access by GS: address %p\n", (void*)where);
  if (!sigsetjmp(back, 1))
    load_gs(0x7f0);
  puts("no such segment: a fault");
  unsigned long base = 1;
  syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
  printf("base: %lu, set to 0: %ld\n", base, syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
  return 0;
}

// Real-time signals queue; sigtimedwait; what a thread that ends leaves to the others; alternate stacks of every kind.
// abi: timeout=90
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}

static volatile int count, values[256], numbers[256], codes[256];
static void collect(int n, siginfo_t* i, void* c) {
  (void)c;
  if (count < 256) {
    numbers[count] = n;
    codes[count] = i->si_code;
    values[count] = i->si_value.sival_int;
  }
  count++;
}
static void install(int n, void (*f)(int, siginfo_t*, void*), int flags) {
  struct sigaction a = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | flags};
  sigfillset(&a.sa_mask);
  sigaction(n, &a, NULL);
}
static sigset_t set_of(int a, int b, int c) {
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, a);
  if (b)
    sigaddset(&s, b);
  if (c)
    sigaddset(&s, c);
  return s;
}

static void queues(void) {
  sigset_t s = set_of(SIGRTMIN + 1, SIGRTMIN + 2, SIGUSR1), old;
  install(SIGRTMIN + 1, collect, 0);
  install(SIGRTMIN + 2, collect, 0);
  install(SIGUSR1, collect, 0);
  sigprocmask(SIG_BLOCK, &s, &old);
  for (int i = 0; i < 100; i++)
    sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = i});
  for (int i = 0; i < 10; i++)
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 1000 + i});
  for (int i = 0; i < 20; i++)
    sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 2000 + i});
  kill(getpid(), SIGRTMIN + 1);
  count = 0;
  sigprocmask(SIG_SETMASK, &old, NULL);
  printf("delivered %d\n", count);
  int wrong = numbers[0] != SIGUSR1 || values[0] != 1000;
  for (int i = 0; i < 20; i++)
    wrong += numbers[1 + i] != SIGRTMIN + 1 || values[1 + i] != 2000 + i || codes[1 + i] != SI_QUEUE;
  wrong += numbers[21] != SIGRTMIN + 1 || codes[21] != SI_USER;
  for (int i = 0; i < 100; i++)
    wrong += numbers[22 + i] != SIGRTMIN + 2 || values[22 + i] != i;
  printf("out of order: %d\n", wrong);
  // What becomes ignored is forgotten.
  sigprocmask(SIG_BLOCK, &s, NULL);
  for (int i = 0; i < 5; i++)
    sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i});
  signal(SIGRTMIN + 1, SIG_IGN);
  sigset_t p;
  sigpending(&p);
  printf("ignored: pending %d\n", sigismember(&p, SIGRTMIN + 1));
  count = 0;
  install(SIGRTMIN + 1, collect, 0);
  sigprocmask(SIG_SETMASK, &old, NULL);
  printf("and gone: %d\n", count);
}

static void* sends(void* p) {
  usleep(20000);
  if (p)
    pthread_kill(*(pthread_t*)p, SIGUSR2);
  else
    sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 42});
  return NULL;
}

static void waits(void) {
  sigset_t s = set_of(SIGRTMIN + 3, SIGUSR1, 0), old;
  sigprocmask(SIG_BLOCK, &s, &old);
  siginfo_t i;
  struct timespec zero = {0, 0}, soon = {0, 20000000}, bad = {0, -5};
  printf("nothing there: %s\n", error(sigtimedwait(&s, &i, &zero)));
  printf("in time: %s\n", error(sigtimedwait(&s, &i, &soon)));
  printf("bad time: %s, bad set: %s\n", error(sigtimedwait(&s, &i, &bad)), error(sigwaitinfo((sigset_t*)8, &i)));
  for (int n = 0; n < 3; n++)
    sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = n});
  raise(SIGUSR1);
  for (int n = 0; n < 4; n++) {
    int r = sigwaitinfo(&s, &i);
    printf("%s %d, ", r == SIGUSR1 ? "USR1" : "RT", r == SIGUSR1 ? 0 : i.si_value.sival_int);
  }
  pthread_t t, self = pthread_self();
  pthread_create(&t, NULL, sends, NULL);
  int r = sigwaitinfo(&s, &i);
  printf("from a thread: %d %d %d\n", r == SIGRTMIN + 3, i.si_code == SI_QUEUE, i.si_value.sival_int);
  pthread_join(t, NULL);
  install(SIGUSR2, collect, 0);
  count = 0;
  pthread_create(&t, NULL, sends, &self);
  printf("another signal: %s", error(sigwaitinfo(&s, &i)));
  printf(", handled %d\n", count);
  pthread_join(t, NULL);
  sigprocmask(SIG_SETMASK, &old, NULL);
}

// A signal for the process while the one thread that lets it in is on its way out, or goes to sleep with it.
static int ready, handled;
static void counts(int n, siginfo_t* i, void* c) {
  (void)n, (void)i, (void)c;
  __atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
}
// A long list of robust locks, none of them held: the kernel walks it on the way out, which gives the signal time to
// come.
static struct node {
  struct node* next;
  uint64_t futex;
} nodes[2000];
static void* ends(void* p) {
  static struct {
    struct node* first;
    long offset;
    void* pending;
  } head;
  for (int i = 0; i < 2000; i++)
    nodes[i].next = i < 1999 ? &nodes[i + 1] : (struct node*)&head;
  head.first = nodes;
  head.offset = offsetof(struct node, futex);
  syscall(SYS_set_robust_list, &head, sizeof head);
  __atomic_store_n(&ready, 1, __ATOMIC_SEQ_CST);
  syscall(SYS_exit, 0);  // without the library, which would block all signals first
  return p;
}
static void* stays(void* p) {
  while (!__atomic_load_n(&ready, __ATOMIC_SEQ_CST))
    usleep(100);
  struct timespec long_time = {60, 0};
  nanosleep(&long_time, NULL);  // until the signal
  return p;
}
static void handed_on(void) {
  sigset_t s = set_of(SIGRTMIN + 4, 0, 0);
  install(SIGRTMIN + 4, counts, 0);
  sigprocmask(SIG_BLOCK, &s, NULL);
  int missed = 0;
  for (int i = 0; i < 60; i++) {
    pthread_t going, staying;
    ready = handled = 0;
    // Both let it in; main blocks it.
    sigprocmask(SIG_UNBLOCK, &s, NULL);
    sigset_t none;
    sigemptyset(&none);
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setsigmask_np(&a, &none);
    sigprocmask(SIG_BLOCK, &s, NULL);
    pthread_create(&going, &a, ends, NULL);
    pthread_create(&staying, &a, stays, NULL);
    while (!__atomic_load_n(&ready, __ATOMIC_SEQ_CST))
      ;
    for (volatile int spin = 0; spin < i * 20; spin++)
      ;
    sigqueue(getpid(), SIGRTMIN + 4, (union sigval){0});
    pthread_join(going, NULL);
    for (int n = 0; n < 2000 && !__atomic_load_n(&handled, __ATOMIC_SEQ_CST); n++)
      usleep(1000);
    missed += __atomic_load_n(&handled, __ATOMIC_SEQ_CST) != 1;
    pthread_kill(staying, SIGRTMIN + 4);  // whoever took it, this one wakes up
    pthread_join(staying, NULL);
  }
  printf("left with a thread that ended: %d\n", missed);
}

static uintptr_t lowest, own_flags, in_handler_flags, room;
static stack_t alternate;
static void on_stack(int n, siginfo_t* i, void* c) {
  (void)n;
  ucontext_t* u = c;
  lowest = (uintptr_t)i < (uintptr_t)u ? (uintptr_t)i : (uintptr_t)u;
  own_flags = (uintptr_t)u->uc_stack.ss_flags;
  stack_t now;
  sigaltstack(NULL, &now);
  in_handler_flags = (uintptr_t)now.ss_flags;
  char here;
  room = (uintptr_t)&here - (uintptr_t)alternate.ss_sp;
}

static void stacks(void) {
  unsigned long least = getauxval(AT_MINSIGSTKSZ);
  char* memory = mmap(NULL, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  alternate = (stack_t){.ss_sp = memory + 4096, .ss_size = 65536};
  sigaltstack(&alternate, NULL);
  install(SIGUSR1, on_stack, SA_ONSTACK);
  raise(SIGUSR1);
  unsigned long used = (uintptr_t)alternate.ss_sp + alternate.ss_size - lowest + 16;
  unsigned a, state, c, d;
  __cpuid_count(13, 0, a, state, c, d);
  printf("the frame fits in AT_MINSIGSTKSZ: %d, which is the vector state and not much more: %d\n", used <= least,
         least - state < 1100);
  printf("flags in the frame %lx, in the handler %lx\n", (unsigned long)own_flags, (unsigned long)in_handler_flags);
  // A stack that is just large enough for the frame and this small handler.
  alternate.ss_size = ((least > 2048 ? least : 2048) + 1024 + 15) & ~15ul;
  memset(memory, 0x5a, 1 << 17);
  sigaltstack(&alternate, NULL);
  raise(SIGUSR1);
  int spoilt = 0;
  for (int i = 0; i < 4096; i++)
    spoilt += memory[i] != 0x5a;
  printf("bytes written below: %d, inside: %d\n", spoilt, room < alternate.ss_size);
  alternate.ss_flags = (int)SS_AUTODISARM;
  alternate.ss_size = 65536;
  printf("autodisarm: %s", error(sigaltstack(&alternate, NULL)));
  raise(SIGUSR1);
  stack_t after;
  sigaltstack(NULL, &after);
  printf(", in the frame %lx, in the handler %lx, after %x\n", (unsigned long)own_flags & 0xffffffff,
         (unsigned long)in_handler_flags & 0xffffffff, after.ss_flags);
  alternate.ss_flags = SS_DISABLE;
  sigaltstack(&alternate, NULL);
  alternate.ss_flags = 0;
  alternate.ss_size = 2047;
  printf("too small: %s", error(sigaltstack(&alternate, NULL)));
  alternate.ss_flags = 4;
  printf(", bad flags: %s\n", error(sigaltstack(&alternate, NULL)));
}

// SIGUSR1's frame finds no room: SIGSEGV comes instead, on a stack that has some.
static volatile int segv;
static void on_segv(int n, siginfo_t* i, void* c) {
  (void)c;
  segv = n;
  printf("no room: signal %d, code %d, address %p\n", n, i->si_code, i->si_addr);
  exit(0);
}
static void no_room(void) {
  // The stack pointer is near the bottom of the ordinary stack's mapping, and SIGSEGV has another.
  char* memory = mmap(NULL, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  alternate = (stack_t){.ss_sp = memory, .ss_size = 65536};
  sigaltstack(&alternate, NULL);
  install(SIGSEGV, on_segv, SA_ONSTACK);
  install(SIGUSR2, collect, 0);
  char* page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(page, 4096, PROT_NONE);
  long pid = getpid(), tid = gettid();
  __asm__ volatile("movq %%rsp, %%r12\n movq %[sp], %%rsp\n syscall\n movq %%r12, %%rsp" ::"a"((long)SYS_tgkill),
                   "D"(pid), "S"(tid), "d"((long)SIGUSR2), [sp] "r"(page + 4096 + 512)
                   : "r12", "rcx", "r11", "memory");
  puts("not reached");
}

int main(void) {
  queues();
  waits();
  handed_on();
  stacks();
  no_room();
  return 0;
}

// Signals: handlers, masks, alternate stacks, restarts, order, waiting.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}

static volatile int got, depth, most, trace[16], traced;
static volatile siginfo_t info;

static void handler(int n) {
  got = n;
}
static void detailed(int n, siginfo_t* i, void* c) {
  got = n;
  info = *i;
  (void)c;
}
static void nested(int n) {
  depth++;
  if (depth > most)
    most = depth;
  trace[traced++] = n;
  if (n == SIGUSR1)
    raise(SIGUSR2);
  trace[traced++] = -n;
  depth--;
}

static void set(int n, void (*f)(int), int flags, int block) {
  struct sigaction a = {.sa_handler = f, .sa_flags = flags};
  if (block)
    sigaddset(&a.sa_mask, block);
  sigaction(n, &a, NULL);
}

static void basics(void) {
  set(SIGUSR1, handler, 0, 0);
  got = 0;
  printf("raise %d, got %d\n", raise(SIGUSR1), got);
  struct sigaction a = {.sa_sigaction = detailed, .sa_flags = SA_SIGINFO};
  sigaction(SIGUSR1, &a, NULL);
  kill(getpid(), SIGUSR1);
  printf("kill: code %d, own pid %d\n", info.si_code, info.si_pid == getpid());
  syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
  printf("tgkill: code %d\n", info.si_code);
  union sigval v = {.sival_int = 4711};
  sigqueue(getpid(), SIGUSR1, v);
  printf("sigqueue: code %d, value %d\n", info.si_code, info.si_value.sival_int);
  struct sigaction old;
  sigaction(SIGUSR1, NULL, &old);
  printf("old handler: %d %d\n", old.sa_sigaction == detailed, !!(old.sa_flags & SA_SIGINFO));
  set(SIGUSR1, SIG_IGN, 0, 0);
  got = 0;
  raise(SIGUSR1);
  printf("ignored: %d\n", got);
  printf("errors: %s %s %s %s\n", error(kill(getpid(), 99)), error(kill(999999, SIGUSR1)),
         error(sigaction(SIGKILL, &a, NULL)), error(syscall(SYS_tgkill, getpid(), 999999, 0)));
  printf("probe: %s\n", error(kill(getpid(), 0)));
  set(SIGUSR1, handler, SA_RESETHAND, 0);
  raise(SIGUSR1);
  sigaction(SIGUSR1, NULL, &old);
  printf("one shot: %d\n", old.sa_handler == SIG_DFL);
  got = 0;
  raise(SIGCHLD), raise(SIGURG), raise(SIGWINCH);
  printf("ignored by default: %d\n", got);
}

static void masks(void) {
  set(SIGUSR1, handler, 0, 0);
  sigset_t s, old, pending;
  sigemptyset(&s);
  sigaddset(&s, SIGUSR1);
  sigprocmask(SIG_BLOCK, &s, &old);
  got = 0;
  raise(SIGUSR1), raise(SIGUSR1);
  sigpending(&pending);
  printf("blocked: %d, pending %d", got, sigismember(&pending, SIGUSR1));
  sigprocmask(SIG_SETMASK, &old, NULL);
  printf(", delivered %d\n", got);
  sigfillset(&s);
  sigprocmask(SIG_SETMASK, &s, NULL);
  sigprocmask(SIG_SETMASK, NULL, &s);
  printf("KILL cannot be blocked: %d\n", !sigismember(&s, SIGKILL) && !sigismember(&s, SIGSTOP));
  sigprocmask(SIG_SETMASK, &old, NULL);
  printf("bad how: %s\n", error(sigprocmask(77, &old, NULL)));
  traced = most = 0;
  set(SIGUSR1, nested, 0, 0);
  set(SIGUSR2, nested, 0, 0);
  raise(SIGUSR1);
  printf("nested: %d %d %d %d, depth %d\n", trace[0] == SIGUSR1, trace[1] == SIGUSR2, trace[2] == -SIGUSR2,
         trace[3] == -SIGUSR1, most);
  traced = most = 0;
  set(SIGUSR1, nested, 0, SIGUSR2);
  raise(SIGUSR1);
  printf("masked: %d %d, depth %d\n", trace[1] == -SIGUSR1, trace[2] == SIGUSR2, most);
}

static volatile uintptr_t handler_sp;
static void on_stack(int n) {
  handler_sp = (uintptr_t)__builtin_frame_address(0);
  got = n;
}

static void stacks(void) {
  static char memory[65536] __attribute__((aligned(16)));
  stack_t s = {.ss_sp = memory, .ss_size = sizeof memory}, old;
  printf("altstack: %s\n", error(sigaltstack(&s, &old)));
  printf("was disabled: %d\n", old.ss_flags == SS_DISABLE);
  set(SIGUSR1, on_stack, SA_ONSTACK, 0);
  raise(SIGUSR1);
  printf("on it: %d, aligned: %d\n", handler_sp > (uintptr_t)memory && handler_sp < (uintptr_t)memory + sizeof memory,
         handler_sp % 16 == 0);
  set(SIGUSR1, on_stack, 0, 0);
  raise(SIGUSR1);
  printf("not on it: %d\n", !(handler_sp > (uintptr_t)memory && handler_sp < (uintptr_t)memory + sizeof memory));
  s.ss_size = 100;
  printf("too small: %s\n", error(sigaltstack(&s, NULL)));
  s.ss_flags = SS_DISABLE;
  sigaltstack(&s, NULL);
}

static sigjmp_buf back;
static void jump(int n, siginfo_t* i, void* c) {
  (void)c;
  got = n;
  info = *i;
  siglongjmp(back, 1);
}
static void skip(int n, siginfo_t* i, void* c) {
  (void)i;
  got = n;
  ((ucontext_t*)c)->uc_mcontext.gregs[REG_RIP] += 2;  // over ud2
  ((ucontext_t*)c)->uc_mcontext.gregs[REG_RBX] = 1234;
}

static int recurse(int n) {
  volatile char space[4096];
  space[0] = (char)n;
  return n == 1 << 30 ? 0 : recurse(n + 1) + space[0];
}

static void faults(void) {
  struct sigaction a = {.sa_sigaction = jump, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  for (int n = 1; n < 20; n++)
    if (n == SIGSEGV || n == SIGFPE || n == SIGBUS || n == SIGTRAP)
      sigaction(n, &a, NULL);
  if (!sigsetjmp(back, 1))
    *(volatile int*)16 = 1;
  printf("null: %d code %d at %ld\n", got, info.si_code, (long)info.si_addr);
  if (!sigsetjmp(back, 1))
    __asm__ volatile("xor %%ecx, %%ecx; mov $1, %%eax; cltd; idiv %%ecx" ::: "eax", "ecx", "edx");
  printf("division: %d code %d\n", got, info.si_code);
  if (!sigsetjmp(back, 1))
    __asm__ volatile("int3");
  printf("breakpoint: %d\n", got);
  if (!sigsetjmp(back, 1))
    *(volatile int*)0x8000000000000000 = 1;
  printf("non-canonical: %d code %d\n", got, info.si_code);
  static char memory[65536];
  stack_t s = {.ss_sp = memory, .ss_size = sizeof memory};
  sigaltstack(&s, NULL);
  if (!sigsetjmp(back, 1))
    recurse(0);
  printf("stack overflow: %d\n", got);
  a.sa_sigaction = skip;
  sigaction(SIGILL, &a, NULL);
  long rbx;
  __asm__ volatile("xor %%ebx, %%ebx; ud2" : "=b"(rbx));
  printf("illegal: %d, register changed: %ld\n", got, rbx);
  set(SIGILL, SIG_DFL, 0, 0);
}

static int pipe_ends[2];
static void write_late(int n) {
  got = n;
  write(pipe_ends[1], "x", 1);
}
static pthread_t main_thread;
static void* prodder(void* p) {
  usleep(60000);
  pthread_kill(main_thread, (int)(intptr_t)p);
  return NULL;
}

static void interruptions(void) {
  main_thread = pthread_self();
  pthread_t t;
  char c;
  pipe(pipe_ends);
  set(SIGUSR1, write_late, SA_RESTART, 0);
  pthread_create(&t, NULL, prodder, (void*)SIGUSR1);
  printf("restarted read: %zd\n", read(pipe_ends[0], &c, 1));
  pthread_join(t, NULL);
  set(SIGUSR1, handler, 0, 0);
  pthread_create(&t, NULL, prodder, (void*)SIGUSR1);
  printf("interrupted read: %s\n", error(read(pipe_ends[0], &c, 1)));
  pthread_join(t, NULL);
  struct timespec long_time = {10, 0}, left = {0, 0};
  pthread_create(&t, NULL, prodder, (void*)SIGUSR1);
  printf("interrupted sleep: %s", error(nanosleep(&long_time, &left)));
  printf(", left: %d\n", left.tv_sec == 9);
  pthread_join(t, NULL);
  set(SIGUSR1, SIG_IGN, 0, 0);
  struct timespec some = {0, 150000000}, before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  pthread_create(&t, NULL, prodder, (void*)SIGUSR1);
  printf("ignored signal, sleep: %s", error(nanosleep(&some, NULL)));
  clock_gettime(CLOCK_MONOTONIC, &after);
  printf(", whole: %d\n", (after.tv_sec - before.tv_sec) * 1000000000l + after.tv_nsec - before.tv_nsec >= 150000000);
  pthread_join(t, NULL);
  set(SIGUSR1, handler, 0, 0);
  sigset_t block, old, suspend;
  sigemptyset(&block), sigemptyset(&suspend);
  sigaddset(&block, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &block, &old);
  got = 0;
  pthread_create(&t, NULL, prodder, (void*)SIGUSR1);
  printf("sigsuspend: %s", error(sigsuspend(&suspend)));
  pthread_sigmask(SIG_SETMASK, NULL, &suspend);
  printf(", got %d, mask back: %d\n", got, sigismember(&suspend, SIGUSR1));
  pthread_join(t, NULL);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_create(&t, NULL, prodder, (void*)SIGUSR1);
  printf("pause: %s\n", error(pause()));
  pthread_join(t, NULL);
  close(pipe_ends[0]);
  set(SIGPIPE, handler, 0, 0);
  printf("broken pipe: %s, signal %d\n", error(write(pipe_ends[1], "x", 1)), got);
}

static volatile pthread_t ran_in;
static void where(int n) {
  got = n;
  ran_in = pthread_self();
}
static volatile int stop;
static void* spinner(void* p) {
  while (!stop)
    __asm__ volatile("" ::: "memory");
  return p;
}

static void threads(void) {
  // A signal for the process goes to the thread that does not block it, even one that never makes a call.
  sigset_t block, old;
  sigemptyset(&block);
  sigaddset(&block, SIGUSR2);
  set(SIGUSR2, where, 0, 0);
  pthread_t t;
  pthread_create(&t, NULL, spinner, NULL);
  pthread_sigmask(SIG_BLOCK, &block, &old);
  got = 0;
  kill(getpid(), SIGUSR2);
  for (int i = 0; i < 2000 && !got; i++)
    usleep(1000);
  printf("another thread took it: %d\n", got == SIGUSR2 && pthread_equal(ran_in, t));
  stop = 1;
  pthread_join(t, NULL);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  basics();
  masks();
  stacks();
  faults();
  interruptions();
  threads();
  return 0;
}

// Ways to end badly, by name. Without one: the list, and a good end. tests/guest/test_crash.py looks at what the kernel
// says.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

NOINLINE static void write_null(void) {
  *(volatile int*)(uintptr_t)24 = 1;
}
NOINLINE static void outer_function(void) {
  write_null();
  __asm__ volatile("");
}
NOINLINE static int recurse(int n) {
  volatile char space[1024];
  space[n % 1024] = (char)n;
  return n == 1 << 30 ? 0 : recurse(n + 1) + space[0];
}
static void overflow(void) {
  exit(recurse(0));
}
static void* overflow_here(void* p) {
  overflow();
  return p;
}
static void overflow_in_thread(void) {
  pthread_t t;
  pthread_create(&t, NULL, overflow_here, NULL);
  pthread_join(t, NULL);
}
static void (*volatile no_function)(void);
NOINLINE static void call_null(void) {
  no_function();
  __asm__ volatile("");
}
static void write_code(void) {
  *(volatile char*)(uintptr_t)call_null = 1;
}
static void run_data(void) {
  static char data[64] = {(char)0xc3};
  ((void (*)(void))(uintptr_t)data)();
}
static void write_kernel(void) {
  *(volatile int*)0xffff900000000000 = 1;
}
static void divide(void) {
  __asm__ volatile("xor %%ecx, %%ecx; mov $1, %%eax; cltd; idiv %%ecx" ::: "eax", "ecx", "edx");
}
static void illegal(void) {
  __asm__ volatile("ud2");
}
static void do_abort(void) {
  abort();
}
static void do_assert(void) {
  fflush(stdout);
  fprintf(stderr, "crash: assertion failed\n");
  abort();
}
static void bad_handler(void) {
  signal(SIGUSR1, (void (*)(int))0x8000000000000000);
  raise(SIGUSR1);
}
static void far_handler(void) {
  signal(SIGUSR1, (void (*)(int))0x7000000000);
  raise(SIGUSR1);
}
static void spoil_return(int n, siginfo_t* info, void* context) {
  (void)n, (void)info;
  ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] = (long)0x8000000000000000;
}
static void bad_return(void) {
  struct sigaction a = {.sa_sigaction = spoil_return, .sa_flags = SA_SIGINFO};
  sigaction(SIGUSR1, &a, NULL);
  raise(SIGUSR1);
}
static void bare_return(void) {
  syscall(SYS_rt_sigreturn);
}
static void no_stack(void) {
  __asm__ volatile("xor %%esp, %%esp; push %%rax" ::: "memory");
}
static void odd_stack(void) {
  __asm__ volatile("movabs $0x8000000000000000, %%rsp; 1: dec %%ecx; jnz 1b; push %%rax" ::"c"(100000000) : "memory");
}
static void far_jump(void) {
  __asm__ volatile("movabs $0x8000000000000000, %%rax; jmp *%%rax" ::: "rax");
}
static void vdso_pointer(void) {
  clock_gettime(CLOCK_MONOTONIC, (struct timespec*)(uintptr_t)64);
}
static void spin_on_kernel_stack_pointer(void) {
  __asm__ volatile("movabs $0xffff800000100000, %%rsp; 1: dec %%ecx; jnz 1b; ud2" ::"c"(100000000) : "memory");
}
// A handler that has used up its alternate stack is sent another signal for the same stack.
static char small_stack[8192 + 16384];
static void ran_below(int n) {
  (void)n;
  puts("ran below the stack");
}
static void go_deep(int n) {
  (void)n;
  // 512 bytes above the bottom: no frame fits there.
  __asm__ volatile("movq %%rsp, %%r12\n movq %[low], %%rsp\n syscall\n movq %%r12, %%rsp" ::"a"(234L),
                   "D"((long)getpid()), "S"((long)gettid()), "d"((long)SIGUSR2), [low] "r"(small_stack + 8192 + 512)
                   : "r12", "rcx", "r11", "memory");
}
static void full_alternate_stack(void) {
  stack_t s = {.ss_sp = small_stack + 8192, .ss_size = 16384};
  sigaltstack(&s, NULL);
  struct sigaction a = {.sa_handler = go_deep, .sa_flags = SA_ONSTACK},
                   b = {.sa_handler = ran_below, .sa_flags = SA_ONSTACK};
  sigaction(SIGUSR1, &a, NULL);
  sigaction(SIGUSR2, &b, NULL);
  raise(SIGUSR1);
}
// Linux forbids it; here it finds two equal values, and nothing happens.
static void swap_gs(void) {
  for (int i = 0; i < 3; i++) {
    __asm__ volatile("swapgs");
    printf("after swapgs: %d\n", getppid());
  }
}
static void terminate(void) {
  kill(getpid(), SIGTERM);
}
static void kill_nine(void) {
  kill(getpid(), SIGKILL);
}
static void status_200(void) {
  exit(200);
}
static void status_7(void) {
  exit(7);
}
static void wait_for_signal(void) {
  for (;;)
    pause();
}
static void got_interrupt(int n) {
  char text[] = "handled SIGINT\n";
  (void)n;
  write(1, text, sizeof text - 1);
  _exit(5);
}
static void handle_interrupt(void) {
  signal(SIGINT, got_interrupt);
  printf("waiting\n");
  fflush(stdout);
  wait_for_signal();
}
static void spin_until_interrupt(void) {
  signal(SIGINT, got_interrupt);
  printf("waiting\n");
  fflush(stdout);
  for (;;)
    __asm__ volatile("" ::: "memory");
}
static void ignore_interrupt(void) {
  signal(SIGINT, SIG_IGN);
  printf("waiting\n");
  fflush(stdout);
  wait_for_signal();
}
static void die_of_interrupt(void) {
  printf("waiting\n");
  fflush(stdout);
  wait_for_signal();
}
static void echo_input(void) {
  char line[100];
  printf("type\n");
  fflush(stdout);
  if (fgets(line, sizeof line, stdin))
    printf("read: %s", line);
}
// SIGINT switched off at the terminal: its byte is read like any other. Then moved to another byte.
static void raw_terminal(void) {
  struct termios t, kept;
  char c = 0;
  tcgetattr(0, &t);
  t.c_lflag &= ~(tcflag_t)(ISIG | ICANON | ECHO);
  printf("set: %d\n", tcsetattr(0, TCSANOW, &t));
  tcgetattr(0, &kept);
  printf("signals: %d\ntype\n", (kept.c_lflag & ISIG) != 0);
  fflush(stdout);
  printf("read %zd: %d\n", read(0, &c, 1), c);
  t.c_lflag |= ISIG;
  t.c_cc[VINTR] = 'q';
  tcsetattr(0, TCSANOW, &t);
  printf("waiting\n");
  fflush(stdout);
  for (;;)
    pause();
}
static void unsupported(void) {
  for (int i = 0; i < 3; i++)
    printf("socket: %s\n", syscall(SYS_socket, 2, 1, 0) < 0 ? strerrorname_np(errno) : "made");
  printf("fork: %s\n", fork() < 0 ? strerrorname_np(errno) : "forked");
  printf("fork: %s\n", fork() < 0 ? strerrorname_np(errno) : "forked");
  printf("execve: %s\n", execl("/bin/true", "true", NULL) < 0 ? strerrorname_np(errno) : "ran");
  printf("pkey_alloc: %s\n", syscall(SYS_pkey_alloc, 0, 0) < 0 ? strerrorname_np(errno) : "made");
  printf("number 1000: %s\n", syscall(1000) < 0 ? strerrorname_np(errno) : "there");
}
// The same in a call that fills fresh memory.
static void read_all_memory(void) {
  size_t length = 1ul << 28, step = 1ul << 20;
  char* p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  int zero = open("/dev/zero", O_RDONLY);
  for (size_t at = 0; at < length; at += step) {
    // Ended without touching anything new: that alone would end it, too.
    if (read(zero, p + at, step) != (ssize_t)step)
      __asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(9));
  }
}
static void use_all_memory(void) {
  for (;;) {
    char* p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
      exit(3);
    memset(p, 1, 1 << 20);
  }
}

static const struct {
  const char* name;
  void (*run)(void);
} ways[] = {
    {"null", outer_function},
    {"overflow", overflow},
    {"overflow-in-thread", overflow_in_thread},
    {"call-null", call_null},
    {"write-code", write_code},
    {"run-data", run_data},
    {"write-kernel", write_kernel},
    {"divide", divide},
    {"illegal", illegal},
    {"abort", do_abort},
    {"assert", do_assert},
    {"sigterm", terminate},
    {"sigkill", kill_nine},
    {"bad-handler", bad_handler},
    {"far-handler", far_handler},
    {"bad-return", bad_return},
    {"bare-return", bare_return},
    {"no-stack", no_stack},
    {"odd-stack", odd_stack},
    {"far-jump", far_jump},
    {"vdso-pointer", vdso_pointer},
    {"full-alternate-stack", full_alternate_stack},
    {"swapgs", swap_gs},
    {"high-stack", spin_on_kernel_stack_pointer},
    {"status-200", status_200},
    {"status-7", status_7},
    {"handle-interrupt", handle_interrupt},
    {"spin-until-interrupt", spin_until_interrupt},
    {"die-of-interrupt", die_of_interrupt},
    {"ignore-interrupt", ignore_interrupt},
    {"echo-input", echo_input},
    {"raw-terminal", raw_terminal},
    {"unsupported", unsupported},
    {"use-all-memory", use_all_memory},
    {"read-all-memory", read_all_memory},
};

int main(int argc, char** argv) {
  if (argc < 2)
    printf("crash WAY; ways:\n");
  for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
    if (argc < 2)
      printf("  %s\n", ways[i].name);
    if (argc == 2 && strcmp(argv[1], ways[i].name) == 0) {
      printf("before\n");
      fflush(stdout);
      ways[i].run();
    }
  }
  return 0;
}

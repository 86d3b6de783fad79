// The program as Linux sees it: one process, its threads, its signals.
//
// There is one process for the life of the machine; its end is the machine's end. What belongs to one thread hangs off
// thread::task.
// Owns: the process owns descriptors and signal actions; a thread's task_state lives until the thread's exit.
// Context: thread, unless a line says "any".
#pragma once

#include <span>

#include "kernel/abi/elf.hh"
#include "kernel/abi/signal.hh"
#include "kernel/abi/task.hh"
#include "kernel/fs/fd_table.hh"
#include "kernel/fs/path.hh"
#include "kernel/lib/errno.hh"
#include "kernel/sched/thread.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel::task {

inline constexpr int process_id = 1;
inline constexpr u64 main_stack_bytes = 8u << 20;
inline constexpr u64 main_stack_guard_bytes = 64u << 10;
inline constexpr int threads_max = 4096;
inline constexpr u64 timer_slack_default_ns = 50'000;
inline constexpr usize arguments_max = 512;
inline constexpr usize auxv_max = 24;

// Bit (n - 1) is signal n.
using signal_set = u64;
constexpr signal_set signal_bit(int n) {
  return signal_set{1} << (n - 1);
}
inline constexpr signal_set unblockable = signal_bit(abi::sig_kill) | signal_bit(abi::sig_stop);

inline constexpr usize queued_signals_max = 4096;  // RLIMIT_SIGPENDING: of the whole process
inline constexpr int first_real_time_signal = 32;

struct queued_signal {
  queued_signal* next = nullptr;
  abi::siginfo info = {};
};

// Signals on their way, in order of sending: a number below 32 once at most, a real-time one as often as it was sent.
// Bit n of `set` is set while n is pending; without memory for its siginfo it is pending all the same.
struct pending_signals {
  signal_set set = 0;
  queued_signal* first = nullptr;
  queued_signal* last = nullptr;
  bool is_valid() const;
};

// What a thread of the program is besides sched's thread.
struct task_state {
  thread* who = nullptr;
  int tid = 0;
  u64 clear_child_tid = 0;  // zeroed and woken at the thread's exit, when not 0
  u64 robust_list = 0;
  // A call that was interrupted before its time was up goes on to the same deadline when it is restarted.
  u64 restart_call = 0;  // number + 1; 0: none
  u64 restart_deadline = 0;

  // Only the thread itself, in system calls and on the way out of them.
  abi::stack_t alt_stack = {0, abi::ss_disable, 0, 0};
  signal_set saved_mask = 0;  // sigsuspend's: what the mask goes back to once a handler's frame is made
  bool restore_mask = false;
  std::byte* xstate = nullptr;  // scratch for signal frames, kmalloc'ed
  bool no_new_privileges = false;
  i32 parent_death_signal = 0;
  u64 timer_slack_ns = timer_slack_default_ns;
  i32 nice = 0;
  i32 policy = 0;  // of sched_setscheduler

  // Guarded by process::signal_lock.
  signal_set blocked = 0;
  signal_set awaited = 0;  // by sigtimedwait, which takes these though they are blocked
  pending_signals pending;
  task_state* next = nullptr;  // process::threads
};

struct process {
  fs::fd_table files;
  fs::node_cell cwd;
  u32 umask = 022;
  ref<fs::node> executable;
  std::span<const u8> image;  // its bytes as they were loaded, for the names of functions
  char executable_path[256] = {};
  u64 load_bias = 0;  // added to the ELF file's addresses
  uptr stack_low = 0, stack_high = 0;
  uptr arguments_start = 0, arguments_end = 0, environment_start = 0, environment_end = 0;
  abi::auxv_entry auxv[auxv_max] = {};
  usize auxv_count = 0;
  u64 started_ns = 0;
  bool is_dumpable = true;
  abi::rlimit limits[abi::rlimit_count] = {
      {abi::rlim_infinity, abi::rlim_infinity},    // CPU
      {abi::rlim_infinity, abi::rlim_infinity},    // FSIZE
      {abi::rlim_infinity, abi::rlim_infinity},    // DATA
      {main_stack_bytes, main_stack_bytes},        // STACK
      {0, 0},                                      // CORE
      {abi::rlim_infinity, abi::rlim_infinity},    // RSS
      {threads_max, threads_max},                  // NPROC
      {fs::descriptors_max, fs::descriptors_max},  // NOFILE
      {abi::rlim_infinity, abi::rlim_infinity},    // MEMLOCK
      {abi::rlim_infinity, abi::rlim_infinity},    // AS
      {abi::rlim_infinity, abi::rlim_infinity},    // LOCKS
      {queued_signals_max, queued_signals_max},    // SIGPENDING
      {0, 0},                                      // MSGQUEUE
      {0, 0},                                      // NICE
      {0, 0},                                      // RTPRIO
      {abi::rlim_infinity, abi::rlim_infinity},    // RTTIME
  };  // guarded by signal_lock
  std::atomic<bool> has_membarrier{false};  // registered for the expedited command

  // The lock of everything about signals and of the list of threads. Rank: signal; taken from interrupts.
  spinlock signal_lock{rank::signal};
  abi::sigaction actions[abi::sig_count] = {};
  pending_signals pending;
  usize queued_signals = 0;  // of the process and all its threads
  task_state* threads = nullptr;
  int thread_count = 0;
  int last_tid = process_id;
  int exit_status = 0;  // what the first thread gave to exit(2): the program's, when its last thread ends
};

process& the_process();
u64 process_cpu_ns();  // of the threads that live
inline task_state& current_task() {
  return *current()->task;
}

// Makes the task_state of a new thread and puts it into the process. Null: out of memory or too many threads.
task_state* create_task(thread* who, signal_set blocked);
// Ends the program: `status` as in wait(2)'s low byte of an exit code. Any context.
[[noreturn]] void end_process(int status);
[[noreturn]] void end_process_by_signal(int number);

// elf.cc
struct loaded_program {
  uptr entry;
  uptr phdr;
  u64 phnum;
  u64 bias;
  uptr end;  // of the highest segment: where the break may start
};
loaded_program load_elf(std::span<const u8> file, std::string_view path);

// Name of a function of the program, from its .symtab. Empty: unknown.
struct program_symbol {
  std::string_view name;
  u64 offset = 0;
};
program_symbol find_program_symbol(u64 address);

// clone.cc: a thread that continues like `frame` with rax = 0. The new thread's id.
struct clone_request {
  u64 flags, stack, parent_tid, child_tid, tls;
};
result<i64> clone_thread(const trap_frame& frame, const clone_request& r);

}  // namespace solaster::kernel::task

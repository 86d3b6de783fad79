// Threads: creation, sleeping and waking, CPUs.
//
// Every sleep is park(): it returns when somebody called unpark() since the last park (a sticky token), or at the
// deadline. The token belongs to the thread, not to a wait: a sleep nested in another (a mutex taken while a condition
// is looked at) may take it. So every wait keeps a sign of its own, which its waker sets before it calls unpark
// (waiter::woken, the futex sleeper's, a shard's token, work_pending, the clock), and looks at that before each park.
// Kernel code (depth > 0) is not preempted.
// Owns: a thread owns its kernel stack and save area; the structure lives until exit_current's last reference is gone.
// Context: thread, unless said.
#pragma once

#include <atomic>

#include "kernel/arch/x86_64/frame.hh"
#include "kernel/arch/x86_64/xstate_private.hh"
#include "kernel/lib/errno.hh"
#include "kernel/lib/types.hh"
#include "kernel/mm/kernel_map.hh"
#include "kernel/sched/clock.hh"
#include "kernel/sync/park.hh"

namespace solaster::kernel {

namespace task {
struct task_state;  // kernel/task's part of a thread: tid, signal masks, robust list, clear_child_tid, ...
}

inline constexpr unsigned cpus_max = 64;

// Where a thread is in its life. Only its own CPU changes `running`; `ready` is left under the lock of the queue it is
// on.
enum class thread_state : u8 {
  fresh,    // not started yet
  running,  // on CPU `cpu`, or chosen by it
  ready,    // on the run queue of CPU `queued_on`
  leaving,  // still on CPU `cpu`, where it may not stay: goes to another's queue once it has been switched away from
  parked,   // asleep until unpark or its deadline; CPU `cpu` may idle on its stack
  dead
};

// Whether park() finds, or unpark() left, a wake.
enum class wake_token : u32 { none, set, asleep };

// Where the extended state of a thread is that does not run.
enum class saved_in : u8 {
  area,       // in its save area, and in the registers of CPU `cpu` if that CPU's xstate_owner is the thread
  area_only,  // in its save area: it has changed the CPU since
  light       // in `light`; the rest is lost, as a C call may lose it
};

// Time that a thread of nice 0 runs while others wait.
inline constexpr u64 slice_normal_ns = 3'000'000;

struct thread {
  // Offsets 0..39 are known to entry.S.
  u64 kernel_stack_top = 0;   // rsp of an empty kernel stack
  std::atomic<u32> depth{0};  // > 0: in the kernel (system call, fault, direct call); no signals, no preemption
  // Something to do on the way back to the program: a signal, an exit. Set by anyone (then unpark the thread), cleared
  // and looked at by task::on_return_to_program.
  std::atomic<u32> work_pending{0};
  u64 saved_rsp = 0;                  // while switched out
  u64 fs_base = 0;                    // FS of the program; change with set_fs_base
  trap_frame* entry_frame = nullptr;  // the frame of the program's last entry by syscall or fault, while in the kernel

  task::task_state* task = nullptr;
  char name[16] = {};
  std::atomic<thread_state> state{thread_state::fresh};
  std::atomic<u64> run_ns{0};          // CPU time (CLOCK_THREAD_CPUTIME_ID without the current slice: use cpu_time_ns)
  std::atomic<u64> affinity{~u64{0}};  // bit per CPU; change with set_affinity
  std::atomic<u64> slice_ns{slice_normal_ns};  // change with set_nice
  u32 cpu = 0;                                 // where it runs or ran last

  // private to sched/
  std::atomic<wake_token> token{wake_token::none};
  std::atomic<bool> on_cpu{false};  // a CPU runs it, has chosen it, or is still on its stack: nobody else may take it
  std::atomic<i32> queued_on{-1};   // the CPU whose queue it is on; changed under that queue's lock
  bool light_switch = false;        // in a direct call's wait: only callee-saved state matters
  bool is_idle = false;
  saved_in saved = saved_in::area_only;
  std::atomic<u32> nofault{0};
  u64 slice_start_ns = 0;
  u64 run_start_ns = 0;
  thread* next_ready = nullptr;
  void* xstate = nullptr;  // 64-byte aligned save area; null: a kernel thread
  light_xstate light;
  timer sleep_timer;
  std::atomic<u32> references{1};
  thread* all_next = nullptr;
  thread* all_previous = nullptr;
  u64 context_switches = 0;
  void (*entry)(void*) = nullptr;
  void* argument = nullptr;

  bool has_work() const { return work_pending.load(std::memory_order_acquire) != 0; }
};

namespace sched {

// A thread that has not started: allocate, fill (`task`, `fs_base`), then start().
// kernel form: runs entry(argument) in the kernel with depth 1; returning ends the thread.
result<thread*> create_kernel_thread(const char* name, void (*entry)(void*), void* argument);
// program form: starts in the program with these registers (rip, rsp, rflags, rax, ... all used), depth 0, and the
// extended state of `copy_xstate_from` (the current thread for clone; null: that of a new program).
result<thread*> create_program_thread(const char* name, const trap_frame& start, u64 fs_base, thread* copy_xstate_from);
void start(thread* t);  // puts it on a run queue
void destroy(thread* t);
inline void hold(thread* t) {  // one more reference
  t->references.fetch_add(1, std::memory_order_relaxed);
}
inline void drop(thread* t) {  // one less; the last frees it (never the running thread's own)
  if (t->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    destroy(t);
}
[[noreturn]] void exit_current();
// The current kernel thread becomes a program thread: jumps to the program with these registers.
[[noreturn]] void enter_program(const trap_frame& start);

// park, unpark and is_interrupted: kernel/sync/park.hh.
void yield();                    // lets others of this CPU run
void sleep_until(u64 deadline);  // not interruptible

// EINVAL: no CPU of it exists. After return the thread runs no instruction of the program on another CPU. Spins for an
// interrupt's time when it runs on one: interrupts on, no spinlock held.
status set_affinity(thread* t, u64 mask);
void set_nice(thread* t, int nice);  // -20 to 19: the length of its slices
// Every CPU that is on line has taken an interrupt before this returns: what it wrote and read before is in order with
// what comes after. Interrupts on, no spinlock held.
void order_all_cpus();
unsigned cpu_count();  // CPUs that the firmware lists (fixed at boot)
unsigned online_count();
unsigned this_cpu();
void set_fs_base(u64 base);  // of the current thread
u64 cpu_time_ns(thread* t);
void for_each_thread(void (*visit)(thread*, void*), void* context);  // under a spinlock: be short, never sleep
u64 context_switch_count();
u64 interrupt_count();
u64 idle_ns(unsigned cpu);

}  // namespace sched
}  // namespace solaster::kernel

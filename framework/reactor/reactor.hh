// The run loop of one shard. In a turn it looks at timers, messages, the back end and the pollers, then runs tasks
// until they run out or one is asked to give way; with nothing to do it polls a while and then sleeps in the back end.
//
// Owns:    the back end, the shard's timers, its network stack.
// Borrows: pollers, which take themselves off before they die.
// Context: shard-local; engine() exists between the start and the end of the shard's loop.
#pragma once

#include "framework/base/function.hh"
#include "framework/reactor/backend/backend.hh"
#include "framework/reactor/idle_polling.hh"
#include "framework/reactor/shard.hh"
#include "framework/reactor/timer.hh"

#include <atomic>
#include <memory>
#include <vector>

namespace solaster {

class network_stack;
class smp_queues;
struct engine_options;

struct reactor_stats {
  uint64_t turns = 0;
  uint64_t tasks = 0;
  uint64_t timers = 0;
  uint64_t sleeps = 0;
  uint64_t preemptions = 0;  // turns in which tasks were asked to give way
  int64_t slept_ns = 0;
};

class reactor {
 public:
  reactor(unsigned id, std::unique_ptr<reactor_backend> backend, const engine_options& options);
  reactor(const reactor&) = delete;
  ~reactor();

  // ---- for everyone ----
  unsigned id() const noexcept { return _id; }
  reactor_backend& backend() noexcept { return *_backend; }
  // This turn's time; steady_clock::now() reads the clock.
  instant now() const noexcept { return instant{internal::hot.loop_now_ns}; }
  network_stack& net() noexcept { return *_network_stack; }
  const engine_options& options() const noexcept { return _options; }
  const reactor_stats& stats() const noexcept { return _stats; }

  void add_poller(poller& p) { _pollers.push_back(&p); }
  void remove_poller(poller& p) noexcept;

  // Runs when the program stops, last come first served, each after the one before has finished. Shard 0 only.
  void at_exit(noncopyable_function<future<>()> f) { _at_exit.push_back(std::move(f)); }
  // Ends the program with this status after the at_exit functions have run. Shard 0 only; the first call counts.
  void exit(int status);
  // Calls `f` on shard 0's loop for each arrival of the signal.
  void handle_signal(int signo, noncopyable_function<void()> f);

  // ---- for the framework ----
  void set_network_stack(std::shared_ptr<network_stack> s) noexcept;
  int run();
  // Makes run() return, on this shard only.
  void stop_loop() noexcept { _stopped = true; }
  // Other shards: makes a sleeping shard look at its queues. Costs a fence and a load when it is awake.
  void wake_if_sleeping() noexcept;
  // Any thread: the same, and a busy shard's task is asked to give way.
  void press() noexcept;
  // Makes sure that need_preempt() says so at the end of the quota, or when the next timer is due. Costs two compares
  // when that is so already.
  void arm_preemption() noexcept;
  // This shard's ends of the rings to the others; null before the shards know each other.
  void set_queues(smp_queues* q) noexcept { _queues = q; }
  smp_queues& queues() noexcept { return *_queues; }
  timer_set& timers() noexcept { return _timers; }
  timer_set& lowres_timers() noexcept { return _lowres_timers; }

 private:
  void start_turn() noexcept;
  void run_tasks() noexcept;
  void settle() noexcept;
  bool poll_once();
  bool poll_backend(bool is_idle);
  bool run_timers();
  bool run_signal_handlers(bool thorough);
  void idle();
  void sleep();
  bool enter_interrupt_mode();
  void start_exit() noexcept;
  future<> run_at_exit();

  const unsigned _id;
  bool _stopped = false;
  bool _exiting = false;
  int _exit_status = 0;
  int64_t _quota_ns;
  int64_t _preempt_at_ns = 0;  // when the back end was last asked to set the flag
  idle_polling _idle;
  int64_t _backend_polled_ns = 0;
  std::unique_ptr<reactor_backend> _backend;
  std::vector<poller*> _pollers;
  smp_queues* _queues = nullptr;
  timer_set _timers;
  timer_set _lowres_timers;
  internal::preempt_flag& _preempt_flag;  // this thread's, for others
  reactor_stats _stats;
  const engine_options& _options;
  std::shared_ptr<network_stack> _network_stack;  // shared: its type is not known here
  std::vector<noncopyable_function<future<>()>> _at_exit;
  timer<> _exit_retry;
  struct signal_handler;
  std::vector<signal_handler> _signal_handlers;
  // True from before the last look at the queues until the shard is awake again. Its partner is wake_if_sleeping().
  alignas(64) std::atomic<bool> _sleeping{false};
};

namespace internal {
[[gnu::tls_model("local-exec")]] extern constinit thread_local reactor* local_engine;

// Where others find a shard's reactor; null while it does not run its loop. Changed by the shard itself. When null was
// published no foreign thread is at it any more.
void publish_reactor(unsigned id, reactor*) noexcept;
// Shards only, who all stay until the last has left its loop. notify_shard() wakes it if it sleeps, press_shard() also
// asks a busy one to give way.
void notify_shard(unsigned id) noexcept;
void press_shard(unsigned id) noexcept;
// press_shard() for any thread, and for signal handlers.
void wake_shard(unsigned id) noexcept;

// What a foreign thread sends: see alien.hh. Exactly one of the two functions is called, once, on the shard or, when it
// ends first, by it.
class alien_message {
 public:
  using function = void (*)(alien_message*) noexcept;
  alien_message(function run, function drop) noexcept : _run(run), _drop(drop) {}
  alien_message(const alien_message&) = delete;
  void run() noexcept { _run(this); }
  void drop() noexcept { _drop(this); }
  alien_message* next = nullptr;

 protected:
  ~alien_message() = default;

 private:
  function _run;
  function _drop;
};
// Any thread. False, with nothing done, when the shard does not run.
bool send_alien(unsigned id, alien_message*) noexcept;
}  // namespace internal

// This shard's reactor. There must be one.
inline reactor& engine() noexcept {
  return *internal::local_engine;
}
inline bool engine_is_ready() noexcept {
  return internal::local_engine != nullptr;
}

}  // namespace solaster

#include "framework/reactor/reactor.hh"

#include "framework/app/log.hh"
#include "framework/app/options.hh"
#include "framework/io/streams.hh"
#include "framework/memory/memory.hh"
#include "framework/reactor/signals.hh"
#include "framework/reactor/smp_queues.hh"
#include "framework/socket/api.hh"

#include <immintrin.h>
#include <time.h>
#include <algorithm>
#include <array>
#include <csignal>

namespace solaster {
namespace internal {

constinit thread_local reactor* local_engine = nullptr;

namespace {
std::array<std::atomic<reactor*>, memory::max_shards> running_reactors{};
}

void publish_reactor(unsigned id, reactor* r) noexcept {
  running_reactors[id].store(r);
}

void wake_shard(unsigned id) noexcept {
  if (reactor* r = running_reactors[id].load(std::memory_order_acquire)) {
    r->wake_if_sleeping();
  }
}

bool preempt_slow_path() noexcept {
  reactor* r = local_engine;
  hot.preempt_budget = preempt_check_interval;
  if (!r) {
    return false;
  }
  hot.loop_now_ns = r->_backend->now().ns;
  if (hot.loop_now_ns < r->_quota_end_ns) {
    return false;
  }
  hot.preempt_budget = 1;  // stays used up until the next turn
  return true;
}

}  // namespace internal

namespace {
logger reactor_log("reactor");
// A back end whose poll() is a system call is asked at least this often, and whenever there is nothing else to do.
constexpr int64_t backend_poll_interval_ns = 50'000;
// Signals are looked at once in so many turns, those that only the direct interface knows of more seldom, both after a
// sleep.
constexpr uint64_t signal_check_turns = 16;
constexpr uint64_t thorough_signal_check_turns = 1024;
// Tasks that run after the loop has stopped.
constexpr int settle_tasks_max = 10'000;
}  // namespace

struct reactor::signal_handler {
  int signo;
  noncopyable_function<void()> handle;
};

instant steady_clock::now() noexcept {
  if (reactor* r = internal::local_engine) [[likely]] {
    return r->backend().now();
  }
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return {int64_t(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec};
}

lowres_system_clock::time_point lowres_system_clock::now() noexcept {
  static thread_local int64_t offset_ns = 0, asked_ns = 0;
  int64_t now = lowres_clock::now().ns;
  if (asked_ns == 0 || now - asked_ns >= 1'000'000'000) {
    asked_ns = now;
    if (engine_is_ready()) {
      offset_ns = engine().backend().read_wall_ns() - now;
    } else {
      timespec ts{};
      clock_gettime(CLOCK_REALTIME, &ts);
      offset_ns = int64_t(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec - now;
    }
  }
  return time_point(std::chrono::nanoseconds(now + offset_ns));
}

reactor::reactor(unsigned id, std::unique_ptr<reactor_backend> backend, const engine_options& options)
    : _id(id),
      _quota_ns(options.task_quota.ns),
      _backend(std::move(backend)),
      _lowres_timers(lowres_clock::granularity),
      _options(options) {
  duration idle = _backend->default_idle_poll_time();
  if (options.idle_poll_time) {
    idle = *options.idle_poll_time;
  } else if (options.overprovisioned) {
    idle = {};
  }
  _idle_poll_ns = options.poll_mode ? INT64_MAX : idle.ns;
  internal::local_engine = this;
  internal::hot.shard_id = id;
  update_now();
}

reactor::~reactor() {
  _network_stack.reset();
  _signal_handlers.clear();
  _at_exit.clear();
  internal::local_engine = nullptr;
  internal::hot.loop_now_ns = 0;
}

void reactor::set_network_stack(std::unique_ptr<network_stack> s) noexcept {
  _network_stack = std::move(s);
}

void reactor::remove_poller(poller& p) noexcept {
  std::erase(_pollers, &p);
}

// ---------------------------------------------------------------- the loop

int reactor::run() {
  internal::publish_reactor(_id, this);
  while (!_stopped) {
    update_now();
    ++_stats.turns;
    run_tasks();
    if (poll_once()) {
      _idle_since_ns = 0;
    } else if (internal::hot.tasks.empty() && !_stopped) {
      idle();
    }
  }
  settle();
  if (_queues) {
    _queues->flush();  // the reply to whoever stopped us
  }
  internal::publish_reactor(_id, nullptr);
  return _exit_status;
}

// What became runnable in the last turn still runs, so that those who finished can clean up; what would go on for ever
// does not.
void reactor::settle() noexcept {
  task_queue& tasks = internal::hot.tasks;
  for (int n = 0; n < settle_tasks_max && !tasks.empty(); ++n) {
    tasks.pop_front()->run_and_dispose();
  }
  tasks.clear();
}

inline void reactor::update_now() noexcept {
  int64_t now = _backend->now().ns;
  internal::hot.loop_now_ns = now;
  _quota_end_ns = now + _quota_ns;
  internal::hot.preempt_budget = internal::preempt_check_interval;
}

void reactor::run_tasks() noexcept {
  task_queue& tasks = internal::hot.tasks;
  uint64_t count = 0;
  while (!tasks.empty()) {
    tasks.pop_front()->run_and_dispose();
    ++count;
    if (need_preempt()) [[unlikely]] {
      ++_stats.preemptions;
      break;
    }
  }
  _stats.tasks += count;
}

bool reactor::poll_once() {
  // Not counted as work: what it queues for the host goes with the sleep that may follow.
  internal::poll_batch_flushes();
  bool any = run_timers();
  if (_stats.turns % signal_check_turns == 0) {
    any |= run_signal_handlers(_stats.turns % thorough_signal_check_turns == 0);
  }
  if (_queues) {
    any |= _queues->poll();
  }
  for (size_t i = 0; i < _pollers.size(); ++i) {  // a poller may add another
    any |= _pollers[i]->poll();
  }
  any |= memory::drain_foreign_frees() != 0;
  any |= memory::reclaim_if_low();
  // Before a sleep the back end is entered once, by wait(): it takes in what has come as well.
  if (!any && internal::hot.tasks.empty() && is_idle_time_over()) {
    return _backend->take_ready();
  }
  if (!any || _backend->poll_is_cheap() || internal::hot.loop_now_ns - _backend_polled_ns >= backend_poll_interval_ns) {
    any |= poll_backend();
  }
  return any;
}

bool reactor::poll_backend() {
  _backend_polled_ns = internal::hot.loop_now_ns;
  return _backend->poll();
}

bool reactor::run_timers() {
  int64_t now = internal::hot.loop_now_ns;
  unsigned fired = 0;
  if (_timers.is_due(now)) [[unlikely]] {
    fired += _timers.expire(instant{now});
  }
  if (_lowres_timers.is_due(now)) [[unlikely]] {
    fired += _lowres_timers.expire(instant{now});
  }
  _stats.timers += fired;
  return fired != 0;
}

// ---------------------------------------------------------------- idle

void reactor::idle() {
  if (_idle_since_ns == 0) {
    _idle_since_ns = internal::hot.loop_now_ns;
  }
  if (internal::hot.loop_now_ns - _idle_since_ns < _idle_poll_ns) {
    _mm_pause();
    return;
  }
  sleep();
  _idle_since_ns = 0;
}

bool reactor::is_idle_time_over() const noexcept {
  return _idle_poll_ns == 0 || (_idle_since_ns != 0 && internal::hot.loop_now_ns - _idle_since_ns >= _idle_poll_ns);
}

bool reactor::enter_interrupt_mode() {
  for (size_t i = 0; i < _pollers.size(); ++i) {
    if (!_pollers[i]->try_enter_interrupt_mode()) {
      while (i-- > 0) {
        _pollers[i]->exit_interrupt_mode();
      }
      return false;
    }
  }
  return true;
}

void reactor::sleep() {
  if (!enter_interrupt_mode()) {
    return;
  }
  instant deadline = std::min(_timers.next_deadline(), _lowres_timers.next_deadline());
  for (poller* p : _pollers) {
    deadline = std::min(deadline, p->next_deadline());
  }
  bool slept = false;
  _sleeping.store(true, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // partner: wake_if_sleeping
  if ((!_queues || _queues->nothing_came()) && !memory::has_foreign_frees() && internal::hot.tasks.empty() &&
      !(_id == 0 && internal::signals_came())) {
    if (deadline.ns > internal::hot.loop_now_ns) {
      _backend->wait(deadline);
      ++_stats.sleeps;
      slept = true;
    }
  }
  _sleeping.store(false, std::memory_order_relaxed);
  for (poller* p : _pollers) {
    p->exit_interrupt_mode();
  }
  int64_t before = internal::hot.loop_now_ns;
  update_now();
  if (slept) {
    _stats.slept_ns += internal::hot.loop_now_ns - before;
  }
  run_signal_handlers(true);
}

void reactor::wake_if_sleeping() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // partner: sleep
  if (_sleeping.load(std::memory_order_relaxed) && _sleeping.exchange(false)) {
    _backend->wake();
  }
}

// ---------------------------------------------------------------- signals and exit

void reactor::handle_signal(int signo, noncopyable_function<void()> f) {
  internal::claim_signal(signo);
  for (auto& h : _signal_handlers) {
    if (h.signo == signo) {
      h.handle = std::move(f);
      return;
    }
  }
  _signal_handlers.push_back({signo, std::move(f)});
}

bool reactor::run_signal_handlers(bool thorough) {
  if (_id != 0) {
    return false;
  }
  uint64_t bits = internal::take_signals(thorough);
  if (bits == 0) [[likely]] {
    return false;
  }
  for (auto& h : _signal_handlers) {
    if (bits >> (h.signo - 1) & 1) {
      h.handle();
    }
  }
  return true;
}

void reactor::exit(int status) {
  if (_exiting) {
    return;
  }
  _exiting = true;
  _exit_status = status;
  (void)run_at_exit();
}

// The functions registered last run first; then the other shards stop, then this one.
future<> reactor::run_at_exit() {
  while (!_at_exit.empty()) {
    auto f = std::move(_at_exit.back());
    _at_exit.pop_back();
    auto done = co_await coroutine::as_future(futurize_invoke(f));
    if (done.failed()) {
      reactor_log.error("a function of at_exit failed: {}", describe(done.get_exception()));
    }
  }
  co_await smp::invoke_on_others([] { engine().stop_loop(); });
  stop_loop();
}

}  // namespace solaster

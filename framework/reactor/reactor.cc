#include "framework/reactor/reactor.hh"

#include "framework/log/log.hh"
#include "framework/memory/memory.hh"
#include "framework/memory/reserve.hh"
#include "framework/reactor/options.hh"
#include "framework/reactor/signals.hh"
#include "framework/reactor/smp_queues.hh"
#include "framework/reactor/turn_hooks.hh"

#include <immintrin.h>
#include <sched.h>
#include <time.h>
#include <algorithm>
#include <array>
#include <csignal>

namespace solaster {
namespace internal {

constinit thread_local reactor* local_engine = nullptr;

namespace {

// The way to a shard from outside. A visitor counts itself in before it reads `running`, and the shard waits for the
// count to be zero after it has stored null: whoever read something else is out by then.
struct alignas(64) shard_door {
  std::atomic<reactor*> running{nullptr};
  std::atomic<uint32_t> visitors{0};
  std::atomic<alien_message*> inbox{nullptr};  // the last comes first
};
constinit std::array<shard_door, memory::max_shards> doors;

class visit {
  shard_door& _door;

 public:
  explicit visit(unsigned id) noexcept : _door(doors[id]) { _door.visitors.fetch_add(1); }
  ~visit() { _door.visitors.fetch_sub(1); }
  visit(const visit&) = delete;
  reactor* host() const noexcept { return _door.running.load(); }
};

// In the order of their coming.
alien_message* take_aliens(unsigned id) noexcept {
  alien_message* last = doors[id].inbox.exchange(nullptr, std::memory_order_acquire);  // partner: send_alien
  alien_message* first = nullptr;
  while (last) {
    alien_message* before = last->next;
    last->next = first;
    first = std::exchange(last, before);
  }
  return first;
}

bool aliens_came(unsigned id) noexcept {
  return doors[id].inbox.load(std::memory_order_relaxed) != nullptr;
}

bool run_aliens(unsigned id) noexcept {
  if (!aliens_came(id)) [[likely]] {
    return false;
  }
  engine().arm_preemption();
  for (alien_message* m = take_aliens(id); m;) {
    alien_message* next = m->next;
    m->run();
    m = next;
  }
  return true;
}

}  // namespace

void publish_reactor(unsigned id, reactor* r) noexcept {
  doors[id].running.store(r);
  if (r) {
    return;
  }
  while (doors[id].visitors.load() != 0) {
    sched_yield();
  }
  for (alien_message* m = take_aliens(id); m;) {
    alien_message* next = m->next;
    m->drop();
    m = next;
  }
}

void notify_shard(unsigned id) noexcept {
  if (reactor* r = doors[id].running.load(std::memory_order_acquire)) {
    r->wake_if_sleeping();
  }
}

void press_shard(unsigned id) noexcept {
  if (reactor* r = doors[id].running.load(std::memory_order_acquire)) {
    r->press();
  }
}

void wake_shard(unsigned id) noexcept {
  visit v(id);
  if (reactor* r = v.host()) {
    r->press();
  }
}

bool send_alien(unsigned id, alien_message* m) noexcept {
  if (id >= memory::max_shards) {
    return false;
  }
  visit v(id);
  reactor* r = v.host();
  if (!r) {
    return false;
  }
  std::atomic<alien_message*>& inbox = doors[id].inbox;
  m->next = inbox.load(std::memory_order_relaxed);
  // partner: take_aliens. Nothing of the message before is looked at, so it does not matter if it was taken meanwhile.
  while (!inbox.compare_exchange_weak(m->next, m, std::memory_order_release, std::memory_order_relaxed)) {
  }
  r->press();
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
// The preemption timer is not set to go off sooner than this, and not set anew to go off a little sooner.
constexpr int64_t preempt_soonest_ns = 20'000;
constexpr int64_t preempt_slack_ns = 20'000;
// How soon a shard looks again whether there is room for the messages that it could not send.
constexpr duration backlog_look_interval = microseconds(50);
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

// What the options say, else what the back end thinks right.
static idle_polling make_idle_polling(const engine_options& o, const reactor_backend& backend) noexcept {
  if (o.poll_mode) {
    return {instant::never() - instant{}, instant::never() - instant{}};
  }
  if (o.idle_poll_time) {
    return {*o.idle_poll_time, *o.idle_poll_time};
  }
  if (o.overprovisioned) {
    return {{}, {}};
  }
  return {backend.idle_poll_min(), backend.idle_poll_max()};
}

reactor::reactor(unsigned id, std::unique_ptr<reactor_backend> backend, const engine_options& options)
    : _id(id),
      _quota_ns(options.task_quota.ns),
      _idle(make_idle_polling(options, *backend)),
      _backend(std::move(backend)),
      _lowres_timers(lowres_clock::granularity),
      _preempt_flag(_backend->preempt_flag()),
      _options(options) {
  memory::refill_reserve();
  internal::local_engine = this;
  internal::hot.shard_id = id;
  internal::hot.preempt = &_preempt_flag;
  start_turn();
}

reactor::~reactor() {
  _network_stack.reset();
  _signal_handlers.clear();
  _at_exit.clear();
  internal::local_engine = nullptr;
  internal::hot.loop_now_ns = 0;
  internal::hot.shard_id = no_shard;
  internal::hot.preempt = &internal::never_preempted;
  memory::release_reserve();
}

void reactor::set_network_stack(std::shared_ptr<network_stack> s) noexcept {
  _network_stack = std::move(s);
}

void reactor::remove_poller(poller& p) noexcept {
  std::erase(_pollers, &p);
}

// ---------------------------------------------------------------- the loop

int reactor::run() {
  internal::publish_reactor(_id, this);
  while (!_stopped) {
    start_turn();
    ++_stats.turns;
    bool any = poll_once();
    if (!internal::hot.tasks.empty()) {
      _idle.found_work(internal::hot.loop_now_ns);
      run_tasks();
    } else if (any) {
      _idle.found_work(internal::hot.loop_now_ns);
    } else if (!_stopped) {
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

// The flag goes down before anything that it may stand for is looked at: partner: press().
inline void reactor::start_turn() noexcept {
  if (need_preempt()) {
    (void)_preempt_flag.exchange(0);
  }
  internal::hot.loop_now_ns = _backend->now().ns;
}

void reactor::arm_preemption() noexcept {
  int64_t now = internal::hot.loop_now_ns;
  int64_t at = std::min({now + _quota_ns, _timers.earliest_ns(), _lowres_timers.earliest_ns()});
  at = std::max(at, now + preempt_soonest_ns);
  if (_preempt_at_ns > now && _preempt_at_ns <= at + preempt_slack_ns) [[likely]] {
    return;  // it goes off early enough; a turn cut short by it is asked again
  }
  _preempt_at_ns = at;
  _backend->preempt_at(instant{at});
}

void reactor::run_tasks() noexcept {
  arm_preemption();
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
  any |= internal::run_aliens(_id);
  if (_queues) {
    any |= _queues->poll();
  }
  for (size_t i = 0; i < _pollers.size(); ++i) {  // a poller may add another
    any |= _pollers[i]->poll();
  }
  any |= memory::drain_foreign_frees() != 0;
  any |= memory::reclaim_if_low();
  memory::refill_reserve();
  bool is_idle = !any && internal::hot.tasks.empty();
  // Before a sleep the back end is entered once, by wait(): it takes in what has come as well.
  if (is_idle && _idle.is_over(internal::hot.loop_now_ns)) {
    return _backend->take_ready();
  }
  if (is_idle || _backend->poll_is_cheap() ||
      internal::hot.loop_now_ns - _backend_polled_ns >= backend_poll_interval_ns) {
    any |= poll_backend(is_idle);
  }
  return any;
}

bool reactor::poll_backend(bool is_idle) {
  _backend_polled_ns = internal::hot.loop_now_ns;
  return _backend->poll(is_idle);
}

bool reactor::run_timers() {
  int64_t now = internal::hot.loop_now_ns;
  if (!_timers.is_due(now) && !_lowres_timers.is_due(now)) [[likely]] {
    return false;
  }
  arm_preemption();
  unsigned fired = 0;
  if (_timers.is_due(now)) {
    fired += _timers.expire(instant{now});
  }
  if (_lowres_timers.is_due(now)) {
    fired += _lowres_timers.expire(instant{now});
  }
  _stats.timers += fired;
  return fired != 0;
}

// ---------------------------------------------------------------- idle

void reactor::idle() {
  if (_idle.poll_on(internal::hot.loop_now_ns)) {
    _mm_pause();
  } else {
    sleep();
  }
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
  if (_queues) {
    _queues->press_unread();
    if (_queues->has_backlog()) {
      deadline = std::min(deadline, this->now() + backlog_look_interval);
    }
  }
  bool slept = false;
  _sleeping.store(true, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // partner: wake_if_sleeping
  if ((!_queues || _queues->nothing_came()) && !internal::aliens_came(_id) && !memory::has_foreign_frees() &&
      internal::hot.tasks.empty() && !(_id == 0 && internal::signals_came())) {
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
  start_turn();
  int64_t now = internal::hot.loop_now_ns;
  _idle.slept(now, now < deadline.ns);
  if (slept) {
    _stats.slept_ns += now - before;
  }
  run_signal_handlers(true);
}

void reactor::wake_if_sleeping() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // partner: sleep
  if (_sleeping.load(std::memory_order_relaxed) && _sleeping.exchange(false)) {
    _backend->wake();
  }
}

void reactor::press() noexcept {
  if (_preempt_flag.load(std::memory_order_relaxed) == 0) {
    _preempt_flag.store(1, std::memory_order_relaxed);
  }
  wake_if_sleeping();
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
  arm_preemption();
  for (size_t i = 0; i < _signal_handlers.size(); ++i) {  // a handler may add another
    int signo = _signal_handlers[i].signo;
    if (bits >> (signo - 1) & 1) {
      try {
        _signal_handlers[i].handle();
      } catch (...) {
        log_exception(reactor_log, "a signal's handler threw", std::current_exception());
      }
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
  start_exit();
}

// Without memory to begin with, it begins later: a program that was told to stop stops.
void reactor::start_exit() noexcept {
  constexpr duration another_time = milliseconds(10);
  auto exiting = run_at_exit();
  if (exiting.available() && exiting.failed()) {
    log_exception(reactor_log, "the end of the program is put off", exiting.get_exception());
    _exit_retry.set_callback([this] { start_exit(); });
    _exit_retry.rearm(steady_clock::now() + another_time);
  }
}

// The functions registered last run first; then the other shards stop, then this one.
future<> reactor::run_at_exit() {
  while (!_at_exit.empty()) {
    auto f = std::move(_at_exit.back());
    _at_exit.pop_back();
    auto done = co_await coroutine::as_future(futurize_invoke(f));
    if (done.failed()) {
      log_exception(reactor_log, "a function of at_exit failed", done.get_exception());
    }
  }
  for (shard_id id = 0; id < smp::count; ++id) {
    while (id != _id) {
      auto told = co_await coroutine::as_future(smp::submit_framework_call(id, [] { engine().stop_loop(); }));
      if (!told.failed()) {
        break;
      }
      (void)told.get_exception();  // no memory for the message: another turn
      co_await coroutine::yield();
    }
  }
  stop_loop();
}

}  // namespace solaster

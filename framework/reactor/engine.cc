#include "framework/reactor/engine.hh"

#include "framework/host/crash.hh"
#include "framework/host/direct.hh"
#include "framework/log/log.hh"
#include "framework/memory/memory.hh"
#include "framework/reactor/options.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/signals.hh"
#include "framework/reactor/smp_queues.hh"

#include <fmt/core.h>
#include <pthread.h>
#include <sched.h>
#include <algorithm>
#include <barrier>
#include <csignal>
#include <cstring>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace solaster::internal {

void restore_default_stop() noexcept {
  restore_default(SIGINT);
  restore_default(SIGTERM);
}

void stop_on_signals() {
  for (int signo : {SIGINT, SIGTERM}) {
    engine().handle_signal(signo, [] {
      restore_default_stop();
      engine().exit(0);
    });
  }
}

namespace {

logger engine_log("engine");

void reserve_memory(const engine_options& o) {
  uint64_t total = o.memory ? o.memory : memory::available_bytes();
  if (int error = memory::reserve_shards(o.smp, total / o.smp)) {
    throw std::runtime_error(fmt::format("no memory for {} shards of {} MiB: {} (see --memory)", o.smp,
                                         total / o.smp >> 20, std::strerror(error)));
  }
  memory::set_wake_hook(&wake_shard);
}

void pin_this_thread(const engine_options& o, unsigned shard) {
  if (shard >= o.cpuset.size() || is_guest()) {  // in a guest the back end binds the thread
    return;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(o.cpuset[shard], &set);
  if (int error = pthread_setaffinity_np(pthread_self(), sizeof(set), &set)) {
    engine_log.warn("shard {} could not be pinned to CPU {}: {}", shard, o.cpuset[shard], std::strerror(error));
  }
}

// All shards of the program and the points where they meet: `up` when each has its reactor (or the start has failed),
// `down` when each has left its loop, so that no reactor goes away while another shard could still wake it.
class shard_group {
 public:
  shard_group(const engine_options& o, noncopyable_function<future<int>()> main,
              noncopyable_function<void(const std::string&)> complain)
      : _options(o), _main(std::move(main)), _complain(std::move(complain)), _up(o.smp), _down(o.smp) {
    for (unsigned i = 0; i < o.smp * o.smp; ++i) {
      _channels.push_back(i / o.smp == i % o.smp ? nullptr : std::make_unique<smp_channel>());
    }
  }

  int run() {
    std::vector<std::thread> threads;
    try {
      for (unsigned id = 1; id < _options.smp; ++id) {
        threads.emplace_back([this, id] { run_shard(id); });
      }
    } catch (const std::system_error& e) {
      note_failure(fmt::format("no thread for a shard: {}", e.code().message()));
      for (unsigned id = unsigned(threads.size()) + 1; id < _options.smp; ++id) {
        _up.arrive_and_drop();
      }
    }
    int status = run_shard(0);
    for (auto& t : threads) {
      t.join();
    }
    return status;
  }

 private:
  int run_shard(unsigned id) {
    give_crash_stack();
    memory::enter_shard(id);
    int status = run_reactor(id);
    memory::leave_shard();
    return status;
  }

  int run_reactor(unsigned id) {
    std::optional<reactor> r;
    std::optional<smp_queues> queues;
    try {
      pin_this_thread(_options, id);
      r.emplace(id, make_backend(_options.reactor_backend, id), _options);
      queues.emplace(_options.smp, id, _channels);
      r->set_queues(_options.smp > 1 ? &*queues : nullptr);
    } catch (const std::exception& e) {
      note_failure(e.what());
    }
    _up.arrive_and_wait();
    if (!_failure.empty()) {  // nobody writes it any more
      if (id == 0) {
        _complain(_failure);
      }
      return 1;
    }
    if (id == 0) {
      r->arm_preemption();
      (void)run_main();
    }
    int status = r->run();
    _down.arrive_and_wait();
    return status;
  }

  // Shard 0: the program.
  future<> run_main() {
    int status = 1;
    try {
      engine_log.debug("{} shards, {} back end", _options.smp, engine().backend().name());
      stop_on_signals();
      status = co_await _main();
    } catch (const std::exception& e) {
      _complain(e.what());
    } catch (...) {
      _complain(describe(std::current_exception()));
    }
    engine().exit(status);
  }

  void note_failure(std::string text) {
    std::lock_guard guard(_lock);
    if (_failure.empty()) {
      _failure = std::move(text);
    }
  }

  const engine_options& _options;
  noncopyable_function<future<int>()> _main;
  noncopyable_function<void(const std::string&)> _complain;
  std::vector<std::unique_ptr<smp_channel>> _channels;  // by origin, then destination
  std::barrier<> _up;
  std::barrier<> _down;
  std::mutex _lock;
  std::string _failure;
};

}  // namespace

int run_shards(noncopyable_function<future<int>()> main, noncopyable_function<void(const std::string&)> complain) {
  const engine_options& o = options();
  signal(SIGPIPE, SIG_IGN);
  reserve_memory(o);
  smp::count = o.smp;
  shard_group group(o, std::move(main), std::move(complain));
  return group.run();
}

}  // namespace solaster::internal

// The way in for threads that are no shard: a library's own threads, a signal-handling thread, the thread that called
// app_template::run's caller. Such a thread has no shard id and no futures; it asks a shard to do something.
//
//     alien::run_on(0, [] { engine().exit(0); });
//     int n = alien::submit_to(1, [] { return cache.local().size(); }).get();      a std::future: get() blocks
//
// Owns:    the message, until the shard has run it. A sleeping shard is woken, a busy one asked to give way.
// Errors:  shard_not_running, thrown by run_on, in submit_to's future; also when the shard ends before it came to it.
// Context: any thread. `func` runs on the shard, its result crosses to the caller. Never get() the result on a shard.
#pragma once

#include "framework/future/future.hh"
#include "framework/reactor/reactor.hh"

#include <future>
#include <memory>
#include <stdexcept>

namespace solaster::alien {

struct shard_not_running : std::runtime_error {
  shard_not_running() : std::runtime_error("the shard does not run") {}
};

namespace internal {

template <typename Func, typename T>
void settle(std::promise<T>& to, Func&& value) noexcept {
  try {
    if constexpr (std::is_void_v<T>) {
      value();
      to.set_value();
    } else {
      to.set_value(value());
    }
  } catch (...) {
    to.set_exception(std::current_exception());
  }
}

template <typename Func>
class call final : public solaster::internal::alien_message {
  using future_type = futurize_t<std::invoke_result_t<Func&>>;
  using value_type = typename future_type::value_type;

  Func _func;
  std::promise<value_type> _result;

  static call* of(alien_message* m) noexcept { return static_cast<call*>(m); }
  static void run(alien_message* m) noexcept {
    // Holds nothing: the message itself is what is waited with.
    (void)futurize_invoke(of(m)->_func).then_wrapped([m](future_type done) noexcept {
      std::unique_ptr<call> mine(of(m));
      settle(mine->_result, [&] { return done.get(); });
    });
  }
  static void drop(alien_message* m) noexcept {
    std::unique_ptr<call> mine(of(m));
    settle(mine->_result, [&]() -> value_type { throw shard_not_running(); });
  }

 public:
  template <typename F>
  explicit call(F&& f) : alien_message(&run, &drop), _func(std::forward<F>(f)) {}
  std::future<value_type> get_future() { return _result.get_future(); }
};

}  // namespace internal

// Runs func() on the shard. Its future, when it returns one, is waited for and resolves the result.
template <typename Func>
auto submit_to(unsigned shard, Func&& func) {
  auto m = std::make_unique<internal::call<std::decay_t<Func>>>(std::forward<Func>(func));
  auto result = m->get_future();
  if (solaster::internal::send_alien(shard, m.get())) {
    (void)m.release();
  } else {
    solaster::internal::alien_message* refused = m.release();
    refused->drop();
  }
  return result;
}

// The same for who does not wait; a failure of func is logged.
template <typename Func>
void run_on(unsigned shard, Func&& func) {
  struct message final : solaster::internal::alien_message {
    std::decay_t<Func> func;
    explicit message(Func&& f)
        : alien_message([](alien_message* m) noexcept { run_kept(static_cast<message*>(m)); },
                        [](alien_message* m) noexcept { delete static_cast<message*>(m); }),
          func(std::forward<Func>(f)) {}
    static void run_kept(message* m) noexcept {
      (void)futurize_invoke(m->func).then_wrapped([m](auto done) noexcept {
        delete m;
        return done;  // its failure is logged, nobody waits for it
      });
    }
  };
  auto m = std::make_unique<message>(std::forward<Func>(func));
  if (!solaster::internal::send_alien(shard, m.get())) {
    throw shard_not_running();
  }
  (void)m.release();
}

}  // namespace solaster::alien

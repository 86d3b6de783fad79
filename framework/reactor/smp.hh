// Messages between shards: run a function there, get its result as a future here.
//
// Between each ordered pair of shards there are two lanes, and each lane is two rings with one producer and one
// consumer: requests one way, replies the other. A message is allocated by the sender, run by the receiver, and comes
// back to be freed where it was made. Its slot in a ring is free again as soon as the receiver has taken it, so calls
// that wait for something at the other end hold up nobody; replies have slots of their own. The framework's own traffic
// (packets, things that go home, the end of the program) has the second lane and overtakes what programs have queued.
// What is sent in one turn is published together; a sleeping receiver is woken once, a busy one is told after
// `unread_max` that somebody waits for it.
//
// Limits: what finds the ring full (`ring_size` messages that the receiver has not looked at) waits in the sender's own
// queue, in order (the caller's future is not resolved: that is the back pressure).
// Context: from a shard; other threads see alien.hh. `func` and its result cross shards: they must not hold what
// belongs to a shard (see foreign_ptr). `func` runs in the receiver's run loop, before its tasks.
#pragma once

#include "framework/future/future.hh"
#include "framework/reactor/shard.hh"
#include "framework/reactor/time.hh"

#include <cstdint>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace solaster {

namespace internal {

// Which of the two lanes a message takes.
enum class smp_lane : uint8_t { program, framework };

// What travels. `task` is its life as a queued item at either end.
class smp_message : public task, public memory::reserved {
 public:
  // At the origin, when the reply has come: hands over the result and frees the message.
  using complete_function = void (*)(smp_message*) noexcept;
  smp_message(run_function run, complete_function complete) noexcept : task(run), _complete(complete) {}
  void complete() noexcept { _complete(this); }

  shard_id origin = 0;
  smp_lane lane = smp_lane::program;

 protected:
  ~smp_message() = default;

 private:
  complete_function _complete;
};

// Origin: queues the message for `to`.
void send_message(shard_id to, smp_message* m) noexcept;
// Destination: sends it back.
void send_reply(smp_message* m) noexcept;

template <typename Func>
class smp_call final : public smp_message {
  using future_type = futurize_t<std::invoke_result_t<Func&>>;
  using value_type = typename future_type::value_type;

  Func _func;
  future_state<value_type> _result;
  promise<value_type> _promise;

  static void run(task* t) noexcept {
    auto* m = static_cast<smp_call*>(t);
    auto f = futurize_invoke(m->_func);
    if (f.available()) [[likely]] {
      m->finish(std::move(f));
    } else {
      // Holds nothing: the message itself is what is waited with.
      (void)std::move(f).then_wrapped([m](future_type done) noexcept { m->finish(std::move(done)); });
    }
  }
  void finish(future_type&& f) noexcept {
    if (f.failed()) {
      _result.set_exception(f.get_exception());
    } else if constexpr (std::is_void_v<value_type>) {
      f.get();
      _result.set();
    } else {
      _result.set(f.get());
    }
    send_reply(this);
  }
  static void complete(smp_message* base) noexcept {
    auto* m = static_cast<smp_call*>(base);
    m->_promise.set_state(std::move(m->_result));
    delete m;
  }

 public:
  template <typename F>
  explicit smp_call(F&& f) : smp_message(&run, &complete), _func(std::forward<F>(f)) {}
  future_type get_future() noexcept { return _promise.get_future(); }
};

}  // namespace internal

class smp {
 public:
  static constexpr unsigned ring_size = 128;
  // How long a receiver may leave a message unread before it is asked to give way to it.
  static constexpr duration unread_max = microseconds(10);

  // Shards of this program. Set before any runs.
  static inline unsigned count = 1;

  static auto all_cpus() noexcept { return std::views::iota(0u, count); }

  // Runs func() on shard `id`; its result, or what it throws, comes back. On this shard: at once. Where there is no
  // memory to send it the future has failed at once, and func was not moved from.
  template <typename Func>
  static auto submit_to(shard_id id, Func&& func) noexcept -> futurize_t<std::invoke_result_t<std::decay_t<Func>&>> {
    return submit_by(internal::smp_lane::program, id, std::forward<Func>(func));
  }
  // The same for the framework's own traffic, which must arrive however much a program has queued.
  template <typename Func>
  static auto submit_framework_call(shard_id id, Func&& func) noexcept
      -> futurize_t<std::invoke_result_t<std::decay_t<Func>&>> {
    return submit_by(internal::smp_lane::framework, id, std::forward<Func>(func));
  }

  // Runs a copy of func on every shard; resolves when all have finished, with one of the failures if there were any.
  template <typename Func>
  static future<> invoke_on_all(Func func) noexcept {
    co_await invoke_on(std::move(func), std::nullopt);
  }
  template <typename Func>
  static future<> invoke_on_others(Func func) noexcept {
    co_await invoke_on(std::move(func), this_shard_id());
  }

 private:
  template <typename Func>
  static auto submit_by(internal::smp_lane lane, shard_id id, Func&& func) noexcept
      -> futurize_t<std::invoke_result_t<std::decay_t<Func>&>> {
    using result = futurize_t<std::invoke_result_t<std::decay_t<Func>&>>;
    if (id >= count || this_shard_id() == no_shard) [[unlikely]] {
      return refuse<result>();
    }
    if (id == this_shard_id()) {
      return call_here<result>(std::forward<Func>(func));
    }
    try {
      auto* m = new internal::smp_call<std::decay_t<Func>>(std::forward<Func>(func));
      auto f = m->get_future();
      m->lane = lane;
      internal::send_message(id, m);
      return f;
    } catch (...) {
      return make_exception_future<typename result::value_type>(std::current_exception());
    }
  }
  template <typename Result>
  [[gnu::cold]] static Result refuse() noexcept {
    using value = typename Result::value_type;
    if (this_shard_id() == no_shard) {
      return make_exception_future<value>(
          std::logic_error("submit_to: this thread is no shard (see alien::submit_to)"));
    }
    return make_exception_future<value>(std::out_of_range("submit_to: no such shard"));
  }
  // A future-returning func must live until its future is ready, as it does in a message: it may be a coroutine.
  template <typename Result, typename Func>
  static Result call_here(Func&& func) noexcept {
    if constexpr (is_future<std::invoke_result_t<std::decay_t<Func>&>> && !std::is_lvalue_reference_v<Func>) {
      return call_kept<Result, std::decay_t<Func>>(std::forward<Func>(func));
    } else {
      return futurize_invoke(func);
    }
  }
  template <typename Result, typename Func>
  static Result call_kept(Func func) {
    co_return co_await func();
  }
  template <typename Func>
  static future<> invoke_on(Func func, std::optional<shard_id> except) {
    std::vector<future<>> running;
    running.reserve(count);
    for (shard_id id : all_cpus()) {
      if (id != except) {
        running.push_back(submit_to(id, Func(func)).discard_result());
      }
    }
    std::exception_ptr failure;
    for (auto& f : running) {
      co_await coroutine::wait_for(f);
      if (f.failed()) {
        failure = f.get_exception();
      }
    }
    if (failure) {
      co_await coroutine::exception(std::move(failure));
    }
  }
};

}  // namespace solaster

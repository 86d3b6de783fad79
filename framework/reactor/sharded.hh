// One instance of a service on every shard.
//
//     sharded<server> s;
//     co_await s.start(port);                                    // a server(port) on each shard
//     co_await s.invoke_on_all(&server::listen);
//     co_await s.invoke_on(shard, [](server& x) { return x.get(key); });
//     co_await s.stop();                                         // server::stop() on each, then they are destroyed
//
// foreign_ptr<P> carries a pointer whose object belongs to another shard and destroys it there.
//
// Owns: the instances. Errors: start() that fails on one shard destroys those that were made.
// Context: start and stop once each, from one shard; local() on any.
#pragma once

#include "framework/base/check.hh"
#include "framework/future/future.hh"
#include "framework/reactor/smp.hh"

#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

namespace solaster {

struct no_sharded_instance_exception : std::exception {
  const char* what() const noexcept override { return "no instance of this sharded service on this shard"; }
};

template <typename P>
class foreign_ptr {
  P _p{};
  shard_id _owner = 0;

  void destroy() noexcept {
    if (!_p) {
      return;
    }
    if (_owner == this_shard_id()) {
      _p = P{};
    } else {
      (void)smp::submit_framework_call(_owner, [p = std::exchange(_p, P{})]() mutable { p = P{}; });
    }
  }

 public:
  using element_type = typename std::pointer_traits<P>::element_type;

  foreign_ptr() noexcept = default;
  foreign_ptr(std::nullptr_t) noexcept {}
  // The object belongs to this shard.
  foreign_ptr(P p) noexcept : _p(std::move(p)), _owner(this_shard_id()) {}
  foreign_ptr(foreign_ptr&& x) noexcept : _p(std::exchange(x._p, P{})), _owner(x._owner) {}
  foreign_ptr& operator=(foreign_ptr&& x) noexcept {
    if (this != &x) {
      destroy();
      _p = std::exchange(x._p, P{});
      _owner = x._owner;
    }
    return *this;
  }
  ~foreign_ptr() { destroy(); }

  element_type& operator*() const noexcept { return *_p; }
  element_type* operator->() const noexcept { return &*_p; }
  element_type* get() const noexcept { return _p ? &*_p : nullptr; }
  explicit operator bool() const noexcept { return bool(_p); }
  shard_id get_owner_shard() const noexcept { return _owner; }
  // Destroys the object and resolves when that is done.
  future<> destroy_on_owner() noexcept {
    if (!_p) {
      return make_ready_future<>();
    }
    return smp::submit_framework_call(_owner, [p = std::exchange(_p, P{})]() mutable { p = P{}; });
  }
};

template <typename P>
foreign_ptr<P> make_foreign(P p) noexcept {
  return foreign_ptr<P>(std::move(p));
}

template <typename Service>
class sharded {
  // Allocated by the shard whose it is; the vector is fixed while the service runs.
  std::vector<std::unique_ptr<Service>> _instances;

  template <typename S>
  static future<> stop_one(S& s) {
    if constexpr (requires { s.stop(); }) {
      return s.stop();
    } else {
      return make_ready_future<>();
    }
  }

  template <typename Func, typename... A>
  auto caller(Func func, A... args) {
    return [this, func = std::move(func), args = std::make_tuple(std::move(args)...)]() mutable {
      Service& s = local();
      return std::apply([&](A&... a) { return std::invoke(func, s, a...); }, args);
    };
  }

 public:
  sharded() noexcept = default;
  sharded(const sharded&) = delete;
  sharded(sharded&& x) = delete;
  ~sharded() {
    if (!_instances.empty()) [[unlikely]] {
      internal::die("a sharded service was destroyed without stop()");
    }
  }

  // Every shard makes its instance from a copy of the arguments.
  template <typename... A>
  future<> start(A... args) {
    CHECK(_instances.empty());  // start() twice
    _instances.resize(smp::count);
    auto made = co_await coroutine::as_future(smp::invoke_on_all([this, args...] {  // copied to each shard
      _instances[this_shard_id()] = std::make_unique<Service>(args...);
    }));
    if (made.failed()) {
      auto why = made.get_exception();
      co_await stop();
      co_await coroutine::exception(std::move(why));
    }
  }
  // An instance on this shard only.
  template <typename... A>
  future<> start_single(A... args) {
    CHECK(_instances.empty());  // start() twice
    auto only = std::make_unique<Service>(std::move(args)...);
    _instances.resize(smp::count);
    _instances[this_shard_id()] = std::move(only);
    co_return;
  }
  // Stops all, then destroys all. A failure of one is passed on after that. Nothing to do when it was not started.
  future<> stop() {
    if (_instances.empty()) {
      co_return;
    }
    auto stopped = co_await coroutine::as_future(smp::invoke_on_all([this]() -> future<> {
      auto& mine = _instances[this_shard_id()];
      return mine ? stop_one(*mine) : make_ready_future<>();
    }));
    co_await smp::invoke_on_all([this] { _instances[this_shard_id()].reset(); });
    _instances.clear();
    co_await std::move(stopped);
  }

  bool local_is_initialized() const noexcept {
    return this_shard_id() < _instances.size() && _instances[this_shard_id()];
  }
  Service& local() {
    if (!local_is_initialized()) [[unlikely]] {
      throw no_sharded_instance_exception();
    }
    return *_instances[this_shard_id()];
  }

  // func(Service&, args...) on shard `id`. The arguments travel by value.
  template <typename Func, typename... A>
  auto invoke_on(shard_id id, Func func, A... args) {
    return smp::submit_to(id, caller(std::move(func), std::move(args)...));
  }
  // On every shard, from copies.
  template <typename Func, typename... A>
  future<> invoke_on_all(Func func, A... args) {
    return smp::invoke_on_all(caller(std::move(func), std::move(args)...));
  }
  template <typename Func, typename... A>
  future<> invoke_on_others(Func func, A... args) {
    return smp::invoke_on_others(caller(std::move(func), std::move(args)...));
  }

  // reduce(reduce(initial, map(shard 0)), map(shard 1))...; all maps run at once, their results are reduced here in
  // order.
  template <typename Map, typename Initial, typename Reduce>
  future<Initial> map_reduce0(Map map, Initial initial, Reduce reduce) {
    using mapped = std::invoke_result_t<Map&, Service&>;
    std::vector<futurize_t<mapped>> running;
    running.reserve(_instances.size());
    for (shard_id id : smp::all_cpus()) {
      running.push_back(invoke_on(id, Map(map)));
    }
    std::exception_ptr failure;
    for (auto& f : running) {
      co_await coroutine::wait_for(f);
      if (f.failed()) {
        failure = f.get_exception();
      } else if (!failure) {
        initial = reduce(std::move(initial), f.get());
      } else {
        f.ignore_ready_future();
      }
    }
    if (failure) {
      co_await coroutine::exception(std::move(failure));
    }
    co_return std::move(initial);
  }
  template <typename Map>
  auto map(Map map) -> future<std::vector<typename futurize<std::invoke_result_t<Map&, Service&>>::value_type>> {
    using value = typename futurize<std::invoke_result_t<Map&, Service&>>::value_type;
    return map_reduce0(std::move(map), std::vector<value>(), [](std::vector<value> all, value v) {
      all.push_back(std::move(v));
      return all;
    });
  }
};

}  // namespace solaster

// Waiting for several futures.
//
//     auto [a, b] = co_await when_all(f(), g());            the futures themselves, ready
//     auto [x, y] = co_await when_all_succeed(f(), g());    the values; a failure of one is thrown after all finished
//     co_await when_all(std::move(vector_of_futures));      a vector of ready futures
#pragma once

#include "framework/future/future.hh"

#include <tuple>
#include <vector>

namespace solaster {
namespace internal {

template <typename... T>
future<std::tuple<future<T>...>> when_all_waiting(future<T>... f) {
  (co_await coroutine::wait_for(f), ...);
  co_return std::tuple<future<T>...>(std::move(f)...);
}

// A future<void> among others contributes nothing to the tuple of values.
template <typename T>
auto value_tuple(future<T>& f) {
  if constexpr (std::is_void_v<T>) {
    f.get();
    return std::tuple<>();
  } else {
    return std::tuple<T>(f.get());
  }
}

template <typename... T>
using values_of = decltype(std::tuple_cat(
    std::declval<std::conditional_t<std::is_void_v<T>, std::tuple<>, std::tuple<stored_t<T>>>>()...));

// The first failure, the rest looked at.
template <typename... T>
std::exception_ptr collect_failure(future<T>&... f) noexcept {
  std::exception_ptr failure;
  auto look = [&](auto& one) {
    if (one.failed()) {
      auto ex = one.get_exception();
      if (!failure) {
        failure = std::move(ex);
      }
    }
  };
  (look(f), ...);
  return failure;
}

}  // namespace internal

template <typename... T>
future<std::tuple<future<T>...>> when_all(future<T>... f) noexcept {
  if ((f.available() && ...)) {
    return make_ready_future<std::tuple<future<T>...>>(std::move(f)...);
  }
  return internal::when_all_waiting(std::move(f)...);
}

template <typename T>
future<std::vector<future<T>>> when_all(std::vector<future<T>> all) {
  for (auto& f : all) {
    co_await coroutine::wait_for(f);
  }
  co_return std::move(all);
}

template <typename... T>
  requires(sizeof...(T) > 0 && !(std::is_void_v<T> && ...))
future<internal::values_of<T...>> when_all_succeed(future<T>... f) {
  (co_await coroutine::wait_for(f), ...);
  if (auto failure = internal::collect_failure(f...)) {
    co_await coroutine::exception(std::move(failure));
  }
  co_return std::tuple_cat(internal::value_tuple(f)...);
}

template <typename... T>
  requires(sizeof...(T) > 0 && (std::is_void_v<T> && ...))
future<> when_all_succeed(future<T>... f) {
  (co_await coroutine::wait_for(f), ...);
  if (auto failure = internal::collect_failure(f...)) {
    co_await coroutine::exception(std::move(failure));
  }
  (f.get(), ...);
}

template <typename T>
auto when_all_succeed(std::vector<future<T>> all)
    -> future<std::conditional_t<std::is_void_v<T>, void, std::vector<internal::stored_t<T>>>> {
  std::exception_ptr failure;
  for (auto& f : all) {
    co_await coroutine::wait_for(f);
    if (f.failed()) {
      failure = f.get_exception();
    }
  }
  if (failure) {
    for (auto& f : all) {
      f.ignore_ready_future();
    }
    co_await coroutine::exception(std::move(failure));
  }
  if constexpr (std::is_void_v<T>) {
    for (auto& f : all) {
      f.get();
    }
  } else {
    std::vector<T> values;
    values.reserve(all.size());
    for (auto& f : all) {
      values.push_back(f.get());
    }
    co_return values;
  }
}

}  // namespace solaster

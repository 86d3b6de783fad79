// Keeps values alive until a future is ready: do_with(value..., [](auto& value...) { return future; }). In a coroutine,
// local variables do the same.
#pragma once

#include "framework/future/future.hh"

#include <tuple>
#include <utility>

namespace solaster {
namespace internal {

template <typename Func, typename... T>
auto do_with_kept(Func func, T... values) -> futurize_t<std::invoke_result_t<Func&, T&...>> {
  co_return co_await futurize_invoke(func, values...);
}

template <typename... A, size_t... I>
auto do_with_unpack(std::tuple<A&&...> a, std::index_sequence<I...>) noexcept {
  constexpr size_t last = sizeof...(A) - 1;
  return do_with_kept(std::forward<std::tuple_element_t<last, std::tuple<A...>>>(std::get<last>(a)),
                      std::forward<std::tuple_element_t<I, std::tuple<A...>>>(std::get<I>(a))...);
}

}  // namespace internal

template <typename... A>
  requires(sizeof...(A) >= 2)
auto do_with(A&&... values_then_func) noexcept {
  return internal::do_with_unpack(std::forward_as_tuple(std::forward<A>(values_then_func)...),
                                  std::make_index_sequence<sizeof...(A) - 1>());
}

}  // namespace solaster

// A bounded queue with two ends, each of which sees the other go away.
//
//     pipe<int> p(16);
//     co_await p.writer.write(1);                 // broken_pipe_exception once the reader is gone
//     std::optional<int> x = co_await p.reader.read();   // empty once the writer is gone and everything was read
//
// Context: shard-local.
#pragma once

#include "framework/future/future.hh"
#include "framework/sync/condition_variable.hh"

#include <deque>
#include <memory>
#include <optional>

namespace solaster {

struct broken_pipe_exception : std::exception {
  const char* what() const noexcept override { return "broken pipe"; }
};

namespace internal {
template <typename T>
struct pipe_state {
  std::deque<T> items;
  size_t max;
  bool has_reader = true;
  bool has_writer = true;
  condition_variable changed_for_reader;
  condition_variable changed_for_writer;
  explicit pipe_state(size_t m) : max(m) {}
};
}  // namespace internal

template <typename T>
class pipe_reader {
  std::shared_ptr<internal::pipe_state<T>> _s;

 public:
  explicit pipe_reader(std::shared_ptr<internal::pipe_state<T>> s) noexcept : _s(std::move(s)) {}
  pipe_reader(pipe_reader&&) noexcept = default;
  ~pipe_reader() {
    if (_s) {
      _s->has_reader = false;
      _s->changed_for_writer.broadcast();
    }
  }
  future<std::optional<T>> read() {
    auto s = _s;  // this end may move while we wait
    while (s->items.empty() && s->has_writer) {
      co_await s->changed_for_reader.wait();
      if (!co_await coroutine::is_wanted()) {
        s->changed_for_reader.signal();  // another may want the item
        co_await coroutine::quit();
      }
    }
    if (s->items.empty()) {
      co_return std::nullopt;
    }
    std::optional<T> item(std::move(s->items.front()));
    s->items.pop_front();
    s->changed_for_writer.signal();
    co_return item;
  }
};

template <typename T>
class pipe_writer {
  std::shared_ptr<internal::pipe_state<T>> _s;

 public:
  explicit pipe_writer(std::shared_ptr<internal::pipe_state<T>> s) noexcept : _s(std::move(s)) {}
  pipe_writer(pipe_writer&&) noexcept = default;
  ~pipe_writer() {
    if (_s) {
      _s->has_writer = false;
      _s->changed_for_reader.broadcast();
    }
  }
  future<> write(T item) {
    auto s = _s;
    while (s->has_reader && s->items.size() >= s->max) {
      co_await s->changed_for_writer.wait();
    }
    if (!s->has_reader) {
      co_await coroutine::exception(broken_pipe_exception());
    }
    s->items.push_back(std::move(item));
    s->changed_for_reader.signal();
  }
};

template <typename T>
class pipe {
  std::shared_ptr<internal::pipe_state<T>> _s;

 public:
  pipe_reader<T> reader;
  pipe_writer<T> writer;
  explicit pipe(size_t max) : _s(std::make_shared<internal::pipe_state<T>>(max)), reader(_s), writer(_s) {}
};

}  // namespace solaster

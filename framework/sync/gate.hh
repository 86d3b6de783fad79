// Waits for work in the background to end before what it uses goes away. Work enters the gate and leaves it; close()
// lets no more in and resolves when the last has left.
//
//     (void)with_gate(_gate, [this, c = std::move(c)]() mutable { return serve(std::move(c)); });
//     ...
//     co_await _gate.close();
//
// Errors: gate_closed_exception from entering a closed gate. Context: shard-local.
#pragma once

#include "framework/base/check.hh"
#include "framework/future/future.hh"

#include <exception>
#include <optional>

namespace solaster {

struct gate_closed_exception : std::exception {
  const char* what() const noexcept override { return "gate closed"; }
};

class gate {
  size_t _count = 0;
  std::optional<promise<>> _closed;

 public:
  gate() noexcept = default;
  gate(const gate&) = delete;
  gate(gate&& x) noexcept : _count(std::exchange(x._count, 0)), _closed(std::move(x._closed)) { x._closed.reset(); }
  ~gate() {
    if (_count != 0) [[unlikely]] {
      internal::die("a gate was destroyed with work inside");
    }
  }

  bool try_enter() noexcept {
    if (_closed) {
      return false;
    }
    ++_count;
    return true;
  }
  void enter() {
    if (!try_enter()) {
      throw gate_closed_exception();
    }
  }
  void leave() noexcept {
    CHECK(_count > 0);  // without having entered
    if (--_count == 0 && _closed) {
      _closed->set_value();
    }
  }
  // Throws when closed: what a long loop asks now and then.
  void check() const {
    if (_closed) {
      throw gate_closed_exception();
    }
  }
  // Once.
  future<> close() noexcept {
    if (_closed) [[unlikely]] {
      internal::die("gate::close() called twice");
    }
    _closed.emplace();
    auto f = _closed->get_future();
    if (_count == 0) {
      _closed->set_value();
    }
    return f;
  }
  bool is_closed() const noexcept { return _closed.has_value(); }
  size_t get_count() const noexcept { return _count; }

  // Leaves when it dies.
  class [[nodiscard]] holder {
    gate* _gate = nullptr;

   public:
    holder() noexcept = default;
    explicit holder(gate& g) : _gate(&g) { g.enter(); }
    holder(holder&& x) noexcept : _gate(std::exchange(x._gate, nullptr)) {}
    holder& operator=(holder&& x) noexcept {
      std::swap(_gate, x._gate);
      return *this;
    }
    ~holder() {
      if (_gate) {
        _gate->leave();
      }
    }
  };
  holder hold() { return holder(*this); }
};

// Runs func inside the gate; func lives until its future is ready. A closed gate is an exceptional future.
template <typename Func>
auto with_gate(gate& g, Func func) -> futurize_t<std::invoke_result_t<Func&>> {
  gate::holder inside(g);
  co_return co_await futurize_invoke(func);
}

// The same for work that nobody waits for; a failure is reported in the log, a closed gate is not an error here.
template <typename Func>
void spawn(gate& g, Func func) noexcept {
  (void)with_gate(g, std::move(func)).then_wrapped([](auto f) noexcept {
    if (f.failed()) {
      auto ex = f.get_exception();
      try {
        std::rethrow_exception(ex);
      } catch (const gate_closed_exception&) {
      } catch (...) {
        internal::report_ignored_failure(std::current_exception());
      }
    } else {
      f.ignore_ready_future();
    }
  });
}

}  // namespace solaster

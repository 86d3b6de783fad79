// A request to give up, which those who wait subscribe to.
//
// Owns:    nothing; subscriptions unlink themselves. The source outlives none of them: when it dies they are simply
// unlinked. Errors:  abort_requested, or what request_abort() was given. Context: shard-local. Callbacks run inside
// request_abort() and must not throw.
#pragma once

#include "framework/base/function.hh"
#include "framework/future/future.hh"
#include "framework/reactor/timer.hh"

#include <exception>
#include <optional>

namespace solaster {

struct abort_requested : std::exception {
  const char* what() const noexcept override { return "abort requested"; }
};

class abort_source {
 public:
  class subscription : timer_link {
    friend class abort_source;
    noncopyable_function<void()> _callback;

   public:
    subscription() noexcept = default;
    subscription(abort_source& source, noncopyable_function<void()> cb) noexcept : _callback(std::move(cb)) {
      insert_before(source._subscriptions);
    }
    subscription(subscription&& x) noexcept : _callback(std::move(x._callback)) { take_place_of(x); }
    subscription& operator=(subscription&& x) noexcept {
      if (this != &x) {
        unlink();
        _callback = std::move(x._callback);
        take_place_of(x);
      }
      return *this;
    }
    ~subscription() { unlink(); }

   private:
    void take_place_of(subscription& x) noexcept {
      if (x.linked()) {
        insert_before(x);
        x.unlink();
      }
    }
  };

  abort_source() noexcept = default;
  abort_source(const abort_source&) = delete;
  ~abort_source() {
    while (_subscriptions.linked()) {
      _subscriptions.next->unlink();
    }
  }

  // Empty when abort was requested already: the caller checks that first.
  std::optional<subscription> subscribe(noncopyable_function<void()> cb) noexcept {
    if (abort_was_requested()) {
      return std::nullopt;
    }
    return std::optional<subscription>(std::in_place, *this, std::move(cb));
  }

  // The first call counts.
  void request_abort() noexcept { request_abort(std::make_exception_ptr(abort_requested())); }
  void request_abort(std::exception_ptr why) noexcept {
    if (_why) {
      return;
    }
    _why = std::move(why);
    while (_subscriptions.linked()) {
      auto& s = static_cast<subscription&>(*_subscriptions.next);
      s.unlink();
      s._callback();
    }
  }

  bool abort_was_requested() const noexcept { return bool(_why); }
  void check() const {
    if (_why) {
      std::rethrow_exception(_why);
    }
  }
  // Why; null when nobody asked.
  const std::exception_ptr& reason() const noexcept { return _why; }

 private:
  timer_link _subscriptions;
  std::exception_ptr _why;
};

}  // namespace solaster

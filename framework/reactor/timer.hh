// Timers: a callback at an instant, once or periodically, on the shard that armed it.
//
// Arming and cancelling are O(1): a timer is linked into the bucket of the highest bit in which its deadline differs
// from the time of the last expiry (as in a hierarchical wheel with 64 levels of one slot); expiring re-sorts one
// bucket.
//
// Owns:    timer_set links timers, it does not own them. A timer cancels itself when it dies.
// Units:   nanoseconds. timer<> fires at or after its deadline, never before; timer<lowres_clock> on the next multiple
//          of 10 ms.
// Errors:  what a callback throws is logged; a periodic timer goes on.
// Context: shard-local. The callback runs from the run loop. It may destroy its timer if it touches none of its own
//          captures after that.
#pragma once

#include "framework/base/function.hh"
#include "framework/reactor/time.hh"

#include <cstdint>

namespace solaster {

class timer_base;

// Circular doubly linked list hook.
struct timer_link {
  timer_link* next = this;
  timer_link* prev = this;
  timer_link() noexcept = default;
  timer_link(const timer_link&) = delete;
  bool linked() const noexcept { return next != this; }
  void unlink() noexcept {
    prev->next = next;
    next->prev = prev;
    next = prev = this;
  }
  void insert_before(timer_link& pos) noexcept {
    prev = pos.prev;
    next = &pos;
    prev->next = this;
    pos.prev = this;
  }
};

class timer_set {
 public:
  // Deadlines are rounded up to multiples of the granularity.
  explicit timer_set(duration granularity = nanoseconds(1)) noexcept : _granularity_ns(granularity.ns) {}
  timer_set(const timer_set&) = delete;

  void insert(timer_base& t) noexcept;
  void remove(timer_base& t) noexcept;
  // The earliest deadline, never() for none. Linear in one bucket after a removal, else a field.
  instant next_deadline() noexcept;
  // Cheap; may say yes too early, never too late.
  bool is_due(int64_t now_ns) const noexcept { return now_ns >= _next_ns; }
  // At most the earliest deadline, as cheap.
  int64_t earliest_ns() const noexcept { return _next_ns; }
  // Calls those that are due. Returns how many.
  unsigned expire(instant now) noexcept;
  bool empty() const noexcept { return _nonempty == 0; }
  // Every timer is in its bucket, the map says which buckets are not empty, none is earlier than the next deadline. Not
  // from inside a callback. Linear.
  bool is_valid() const noexcept;

 private:
  static constexpr unsigned bucket_count = 64;
  const int64_t _granularity_ns;
  timer_link _buckets[bucket_count];
  uint64_t _nonempty = 0;        // bit i: _buckets[i] is not empty
  int64_t _last_ns = 0;          // the time of the last expiry; no timer is earlier
  int64_t _next_ns = INT64_MAX;  // at most the earliest deadline
  bool _next_exact = true;

  unsigned bucket_of(int64_t deadline_ns) const noexcept;
  void link(timer_base& t) noexcept;
  void find_next() noexcept;
};

class timer_base : timer_link {
 public:
  bool armed() const noexcept { return _set != nullptr; }
  instant deadline() const noexcept { return instant{_deadline_ns}; }
  // True if it was armed.
  bool cancel() noexcept;

 protected:
  using callback_type = noncopyable_function<void()>;
  timer_base() noexcept = default;
  explicit timer_base(callback_type&& cb) noexcept : _callback(std::move(cb)) {}
  timer_base(timer_base&&) noexcept;
  ~timer_base() { cancel(); }
  void arm_in(timer_set& set, instant deadline, duration period) noexcept;

  callback_type _callback;

 private:
  friend class timer_set;
  timer_set* _set = nullptr;  // where it is linked
  int64_t _deadline_ns = 0;
  int64_t _period_ns = 0;
};

namespace internal {
timer_set& this_shard_timers(steady_clock) noexcept;
timer_set& this_shard_timers(lowres_clock) noexcept;
}  // namespace internal

template <typename Clock = steady_clock>
class timer : public timer_base {
 public:
  timer() noexcept = default;
  explicit timer(callback_type cb) noexcept : timer_base(std::move(cb)) {}
  timer(timer&&) noexcept = default;

  void set_callback(callback_type cb) noexcept { _callback = std::move(cb); }
  // The timer must not be armed; rearm() takes either.
  void arm(instant deadline) noexcept { rearm(deadline); }
  void arm(delay d) noexcept { rearm(Clock::now() + duration(d)); }
  void arm_periodic(delay d) noexcept { start(Clock::now() + duration(d), d); }
  void rearm(instant deadline) noexcept { start(deadline, {}); }
  void rearm(delay d) noexcept { rearm(Clock::now() + duration(d)); }
  void rearm_periodic(delay d) noexcept { arm_periodic(d); }

 private:
  void start(instant deadline, duration period) noexcept {
    cancel();
    arm_in(internal::this_shard_timers(Clock()), deadline, period);
  }
};

}  // namespace solaster

#include "framework/reactor/timer.hh"

#include "framework/base/check.hh"
#include "framework/log/log.hh"
#include "framework/reactor/reactor.hh"

#include <algorithm>
#include <bit>

namespace solaster {

static logger timer_log("timer");

// Bucket 0 holds what is due; bucket i > 0 holds deadlines whose highest bit that differs from _last_ns is bit i - 1.
// Of two timers in different buckets the one in the lower bucket is earlier.
unsigned timer_set::bucket_of(int64_t deadline_ns) const noexcept {
  if (deadline_ns <= _last_ns) {
    return 0;
  }
  return 64 - unsigned(std::countl_zero(uint64_t(deadline_ns) ^ uint64_t(_last_ns)));
}

void timer_set::link(timer_base& t) noexcept {
  unsigned b = bucket_of(t._deadline_ns);
  t.insert_before(_buckets[b]);
  _nonempty |= uint64_t(1) << b;
}

void timer_set::insert(timer_base& t) noexcept {
  if (_granularity_ns > 1 && t._deadline_ns < INT64_MAX - _granularity_ns) {
    t._deadline_ns = (t._deadline_ns + _granularity_ns - 1) / _granularity_ns * _granularity_ns;
  }
  DCHECK(t._set == nullptr && !t.linked());
  t._set = this;
  link(t);
  _next_ns = std::min(_next_ns, t._deadline_ns);
}

void timer_set::remove(timer_base& t) noexcept {
  DCHECK(t._set == this && t.linked());
  unsigned b = bucket_of(t._deadline_ns);
  t.unlink();
  t._set = nullptr;
  if (!_buckets[b].linked()) {
    _nonempty &= ~(uint64_t(1) << b);
  }
  if (t._deadline_ns <= _next_ns) {
    _next_exact = false;
  }
}

void timer_set::find_next() noexcept {
  _next_exact = true;
  _next_ns = INT64_MAX;
  if (_nonempty != 0) {
    timer_link& bucket = _buckets[std::countr_zero(_nonempty)];
    for (timer_link* p = bucket.next; p != &bucket; p = p->next) {
      _next_ns = std::min(_next_ns, static_cast<timer_base*>(p)->_deadline_ns);
    }
  }
}

bool timer_set::is_valid() const noexcept {
  int64_t first = INT64_MAX;
  for (unsigned b = 0; b < bucket_count; ++b) {
    if (_buckets[b].linked() != bool(_nonempty >> b & 1)) {
      return false;
    }
    for (const timer_link* p = _buckets[b].next; p != &_buckets[b]; p = p->next) {
      auto& t = *static_cast<const timer_base*>(p);
      if (t._set != this || bucket_of(t._deadline_ns) != b || t._deadline_ns % _granularity_ns != 0) {
        return false;
      }
      first = std::min(first, t._deadline_ns);
    }
  }
  return _next_ns <= first && (!_next_exact || _next_ns == first);
}

instant timer_set::next_deadline() noexcept {
  if (!_next_exact) {
    find_next();
  }
  return instant{_next_ns};
}

unsigned timer_set::expire(instant now) noexcept {
  // Buckets below that of `now` are due as a whole; its own is sorted anew; for those above nothing changes.
  unsigned split = bucket_of(now.ns);
  timer_link due, mixed;
  auto take = [](timer_link& from, timer_link& to) {
    while (from.linked()) {
      timer_link* t = from.next;
      t->unlink();
      t->insert_before(to);
    }
  };
  uint64_t below = (uint64_t(1) << split) - 1;
  for (uint64_t bits = _nonempty & below; bits != 0; bits &= bits - 1) {
    take(_buckets[std::countr_zero(bits)], due);
  }
  take(_buckets[split], mixed);
  _nonempty &= ~(below | (uint64_t(1) << split));
  _last_ns = std::max(_last_ns, now.ns);
  while (mixed.linked()) {
    auto& t = *static_cast<timer_base*>(mixed.next);
    t.unlink();
    if (t._deadline_ns <= now.ns) {
      t.insert_before(due);
    } else {
      link(t);
    }
  }
  find_next();
  unsigned count = 0;
  while (due.linked()) {
    // A callback may cancel or arm any timer, those in `due` among them.
    auto& t = *static_cast<timer_base*>(due.next);
    t.unlink();
    t._set = nullptr;
    if (t._period_ns > 0) {
      int64_t next = t._deadline_ns + t._period_ns;
      t.arm_in(*this, instant{next > now.ns ? next : now.ns + t._period_ns}, duration{t._period_ns});
    }
    ++count;
    try {
      t._callback();
    } catch (...) {
      log_exception(timer_log, "a timer's callback threw", std::current_exception());
    }
  }
  return count;
}

timer_base::timer_base(timer_base&& x) noexcept : _callback(std::move(x._callback)) {
  if (timer_set* set = x._set) {
    int64_t deadline = x._deadline_ns, period = x._period_ns;
    x.cancel();
    arm_in(*set, instant{deadline}, duration{period});
  }
}

bool timer_base::cancel() noexcept {
  if (!_set) {
    return false;
  }
  _set->remove(*this);
  return true;
}

void timer_base::arm_in(timer_set& set, instant deadline, duration period) noexcept {
  _deadline_ns = deadline.ns;
  _period_ns = period.ns;
  set.insert(*this);
}

namespace internal {

timer_set& this_shard_timers(steady_clock) noexcept {
  return engine().timers();
}
timer_set& this_shard_timers(lowres_clock) noexcept {
  return engine().lowres_timers();
}

}  // namespace internal
}  // namespace solaster

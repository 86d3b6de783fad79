#include "framework/sync/semaphore.hh"

#include <memory>
#include <optional>

namespace solaster {

// Owned by the queue: whoever takes it off the queue disposes of it.
struct semaphore::waiter : timer_link {
  semaphore& sem;
  size_t units;
  promise<> granted;
  timer<> timeout;
  std::optional<abort_source::subscription> abort;

  waiter(semaphore& s, size_t n) noexcept : sem(s), units(n) {}

  static waiter& of(timer_link* l) noexcept { return *static_cast<waiter*>(l); }
  void leave_queue() noexcept {
    unlink();
    --sem._waiting;
  }
  void grant() noexcept {
    leave_queue();
    granted.set_value();
    delete this;
  }
  void fail(std::exception_ptr ex) noexcept {
    leave_queue();
    if (granted.is_wanted()) {
      granted.set_exception(std::move(ex));
    }
    delete this;
  }
  // Nobody wants the units any more.
  void drop() noexcept {
    leave_queue();
    delete this;
  }
  // Out of the timer's or the abort source's callback: what calls must outlive the call, so the rest happens in a task.
  void fail_and_pass_on(std::exception_ptr ex) noexcept {
    semaphore& s = sem;
    auto own = std::unique_ptr<waiter>(this);
    leave_queue();
    granted.set_exception(std::move(ex));
    s.wake_waiters();  // those behind may want less
    (void)yield_and_drop(std::move(own));
  }
  static future<> yield_and_drop(std::unique_ptr<waiter>) { co_await coroutine::yield(); }
};

future<> semaphore::enqueue(size_t units, instant deadline, abort_source* as) noexcept {
  if (_broken) {
    return make_exception_future<>(_broken);
  }
  if (as && as->abort_was_requested()) {
    return make_exception_future<>(as->reason());
  }
  auto* w = new (std::nothrow) waiter(*this, units);
  if (!w) {
    return make_exception_future<>(std::bad_alloc());
  }
  w->insert_before(_waiters);
  bool was_first = _waiters.next == w;
  ++_waiting;
  auto f = w->granted.get_future();
  if (deadline != instant::never()) {
    w->timeout.set_callback([w] { w->fail_and_pass_on(std::make_exception_ptr(semaphore_timed_out())); });
    w->timeout.arm(deadline);
  }
  if (as) {
    w->abort = as->subscribe([w, as] { w->fail_and_pass_on(as->reason()); });
  }
  if (!was_first) {
    wake_waiters();  // those before may have been given up
  }
  return f;
}

bool semaphore::is_valid() const noexcept {
  size_t n = 0;
  for (const timer_link* p = _waiters.next; p != &_waiters; p = p->next) {
    auto& w = *static_cast<const waiter*>(p);
    if (&w.sem != this || ++n > _waiting) {
      return false;
    }
    bool has_enough = _count >= 0 && size_t(_count) >= w.units;
    if (n == 1 && w.granted.is_wanted() && has_enough) {
      return false;
    }
  }
  return n == _waiting && (!_broken || n == 0);
}

void semaphore::wake_waiters() noexcept {
  while (_waiters.linked()) {
    waiter& w = waiter::of(_waiters.next);
    if (!w.granted.is_wanted()) {
      w.drop();
      continue;
    }
    if (_count < 0 || size_t(_count) < w.units) {
      return;
    }
    _count -= ptrdiff_t(w.units);
    w.grant();
  }
}

void semaphore::fail_all(const std::exception_ptr& ex) noexcept {
  while (_waiters.linked()) {
    waiter::of(_waiters.next).fail(ex);
  }
}

}  // namespace solaster

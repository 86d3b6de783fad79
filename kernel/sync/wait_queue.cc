#include "kernel/sync/wait_queue.hh"

#include "kernel/lib/panic.hh"
#include "kernel/sched/thread.hh"

namespace solaster::kernel {

void wait_queue::add(waiter& w) {
  w.who = current();
  lock_guard g(_lock);
  w.next = nullptr;
  w.previous = _last;
  if (_last) {
    _last->next = &w;
  } else {
    _first = &w;
  }
  _last = &w;
  w.queued = true;
}

void wait_queue::remove(waiter& w) {
  lock_guard g(_lock);
  if (!w.queued) return;
  if (w.previous) {
    w.previous->next = w.next;
  } else {
    _first = w.next;
  }
  if (w.next) {
    w.next->previous = w.previous;
  } else {
    _last = w.previous;
  }
  w.queued = false;
}

// A waiter stays on the queue until its thread takes it off; the woken one moves to the end, so that the next wake_one finds
// another.
usize wait_queue::wake_one() {
  lock_guard g(_lock);
  waiter* w = _first;
  if (!w) return 0;
  if (w->next) {
    _first = w->next;
    _first->previous = nullptr;
    w->previous = _last;
    w->next = nullptr;
    _last->next = w;
    _last = w;
  }
  sched::unpark(w->who);
  return 1;
}

usize wait_queue::wake_all() {
  lock_guard g(_lock);
  usize n = 0;
  for (waiter* w = _first; w; w = w->next, n++) sched::unpark(w->who);
  return n;
}

// The proof. lock: a thread that cannot take the owner word counts itself in _waiting and queues before it tries again;
// unlock: clears the owner, then (seq_cst) reads _waiting. Either unlock sees the count and wakes, or the locker's try came
// after the clear and succeeds. Spurious wakes only cause another try.
void mutex::lock() {
  thread* me = current();
  thread* nobody = nullptr;
  if (_owner.compare_exchange_strong(nobody, me)) return;
  KCHECK(nobody != me);
  _waiting.fetch_add(1);
  (void)_queue.wait([&] { return try_lock(); }, never, false);
  _waiting.fetch_sub(1);
}

bool mutex::try_lock() {
  thread* nobody = nullptr;
  return _owner.compare_exchange_strong(nobody, current());
}

void mutex::unlock() {
  KCHECK(is_mine());
  _owner.store(nullptr);
  if (_waiting.load()) _queue.wake_one();
}

bool mutex::is_mine() const { return _owner.load(std::memory_order_relaxed) == current(); }

}  // namespace solaster::kernel

#include "kernel/sync/wait_queue.hh"

#include "kernel/lib/panic.hh"
#include "kernel/sync/park.hh"

namespace solaster::kernel {

// Whether nobody waits, without the lock. The caller has just changed what is waited for, and a waiter queues before it
// looks at that; with a fence between the two steps on both sides one of them sees the other.
bool wait_queue::is_surely_empty() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return std::atomic_ref<waiter*>(_first).load(std::memory_order_relaxed) == nullptr;
}

void wait_queue::add(waiter& w) {
  w.who = current();
  link(w);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void wait_queue::link(waiter& w) {
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
  KDCHECK(is_linked());
}

void wait_queue::remove(waiter& w) {
  lock_guard g(_lock);
  if (!w.queued)
    return;
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
  KDCHECK(is_linked());
}

wait_result wait_queue::sleep(waiter& w, u64 deadline, bool interruptible) {
  while (!w.woken.exchange(false)) {
    if (interruptible && sched::is_interrupted())
      return wait_result::interrupted;
    if (sched::park(deadline) == sched::park_result::timed_out)
      return wait_result::timed_out;
  }
  return wait_result::done;
}

void wait_queue::wake(waiter& w) {
  w.woken.store(true);
  sched::unpark(w.who);
}

// A waiter stays on the queue until its thread takes it off; the woken one moves to the end, so that the next wake_one
// finds another.
usize wait_queue::wake_one() {
  if (is_surely_empty())
    return 0;
  lock_guard g(_lock);
  waiter* w = _first;
  if (!w)
    return 0;
  if (w->next) {
    _first = w->next;
    _first->previous = nullptr;
    w->previous = _last;
    w->next = nullptr;
    _last->next = w;
    _last = w;
  }
  wake(*w);
  KDCHECK(is_linked());
  return 1;
}

usize wait_queue::wake_all() {
  if (is_surely_empty())
    return 0;
  lock_guard g(_lock);
  usize n = 0;
  for (waiter* w = _first; w; w = w->next, n++)
    wake(*w);
  return n;
}

bool wait_queue::is_linked() const {
  const waiter* end = nullptr;
  for (const waiter* w = _first; w; end = w, w = w->next) {
    if (w->previous != end || !w->queued || !w->who)
      return false;
  }
  return end == _last;
}

bool wait_queue::is_valid() {
  lock_guard g(_lock);
  return is_linked();
}

// The proof. lock: a thread that cannot take the owner word counts itself in _waiting and queues before it tries again;
// unlock: clears the owner, then (seq_cst) reads _waiting. Either unlock sees the count and wakes, or the locker's try
// came after the clear and succeeds. Spurious wakes only cause another try. Fairness: a thread that was woken in vain
// twice counts itself in _starving before its next try. While that is not zero only such threads take the lock, and
// unlock wakes everybody: so one of them is among those that try, and the others sleep again without a loss, since the
// starving one's unlock wakes the next.
void mutex::lock_slowly() {
  constexpr int patience = 2;
  KCHECK(!is_mine());
  _waiting.fetch_add(1);
  int tries = 0;
  bool is_starving = false;
  (void)_queue.wait(
      [&] {
        if (++tries > patience && !is_starving) {
          is_starving = true;
          _starving.fetch_add(1);
        }
        return (is_starving || _starving.load() == 0) && try_lock();
      },
      never, false);
  if (is_starving)
    _starving.fetch_sub(1);
  _waiting.fetch_sub(1);
}

void mutex::wake_next() {
  if (_starving.load()) {
    _queue.wake_all();
  } else {
    _queue.wake_one();
  }
}

void mutex::wrong_use() {
  panic("a mutex is given up by who does not hold it");
}

}  // namespace solaster::kernel

// Timers of a CPU in a pairing heap: arming is constant time, the earliest is the root.
//
// Links: `left` is the first child, `right` the next sibling, `parent` the previous sibling or, for a first child, the
// parent.

#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/lib/panic.hh"
#include "kernel/sched/run_queue.hh"
#include "kernel/sched/scheduler.hh"

namespace solaster::kernel::sched {
namespace {

struct alignas(64) timer_queue {
  spinlock lock{rank::timer};
  timer* root = nullptr;
  timer* firing = nullptr;
};
timer_queue queues[cpus_max];

// Under the lock: no child before its parent, every link known from both ends, every timer armed and on this CPU.
[[maybe_unused]] bool is_valid(const timer_queue& q, unsigned cpu) {
  if (q.root && (q.root->parent || q.root->right))
    return false;
  for (const timer* t = q.root; t;) {
    if (!t->is_armed || t->cpu != static_cast<i32>(cpu))
      return false;
    for (const timer *c = t->left, *before = t; c; before = c, c = c->right) {
      if (c->parent != before || c->deadline < t->deadline)
        return false;
    }
    // Depth first; up again by the first sibling's parent.
    const timer* next = t->left ? t->left : t->right;
    while (!next && t != q.root) {
      while (t != q.root && t->parent->left != t)
        t = t->parent;  // back to the first child
      if (t == q.root)
        break;
      t = t->parent;
      next = t->right;
    }
    t = next;
  }
  return true;
}

timer* meld(timer* a, timer* b) {
  if (!a)
    return b;
  if (!b)
    return a;
  if (b->deadline < a->deadline) {
    timer* swap = a;
    a = b;
    b = swap;
  }
  b->right = a->left;
  if (a->left)
    a->left->parent = b;
  b->parent = a;
  a->left = b;
  return a;
}

timer* merge_pairs(timer* first) {
  timer* pairs = nullptr;  // melded pairs, linked by right
  while (first) {
    timer* a = first;
    timer* b = a->right;
    first = b ? b->right : nullptr;
    a->right = a->parent = nullptr;
    if (b)
      b->right = b->parent = nullptr;
    timer* m = meld(a, b);
    m->right = pairs;
    pairs = m;
  }
  timer* result = nullptr;
  while (pairs) {
    timer* next = pairs->right;
    pairs->right = nullptr;
    result = meld(result, pairs);
    pairs = next;
  }
  return result;
}

void take_out(timer_queue& q, timer* t) {
  if (q.root == t) {
    q.root = merge_pairs(t->left);
  } else {
    if (t->parent->left == t) {
      t->parent->left = t->right;
    } else {
      t->parent->right = t->right;
    }
    if (t->right)
      t->right->parent = t->parent;
    q.root = meld(q.root, merge_pairs(t->left));
  }
  if (q.root)
    q.root->parent = q.root->right = nullptr;
  t->left = t->right = t->parent = nullptr;
  t->is_armed = false;
}

}  // namespace

void arm(timer& t, u64 deadline) {
  cancel(t);
  const u64 flags = save_flags_and_disable();
  const unsigned cpu = this_cpu_number();
  timer_queue& q = queues[cpu];
  q.lock.lock();
  t.deadline = deadline;
  t.cpu = static_cast<i32>(cpu);
  t.left = t.right = t.parent = nullptr;
  t.is_armed = true;
  q.root = meld(q.root, &t);
  KDCHECK(is_valid(q, cpu));
  const bool is_first = q.root == &t;
  q.lock.unlock();
  if (is_first)
    rearm_local_timer();
  restore_flags(flags);
}

void cancel(timer& t) {
  for (;;) {
    const i32 cpu = __atomic_load_n(&t.cpu, __ATOMIC_ACQUIRE);
    if (cpu < 0)
      return;
    // Only this CPU's interrupts change it, and none is between here and the caller.
    if (static_cast<unsigned>(cpu) == this_cpu_number() && !__atomic_load_n(&t.is_armed, __ATOMIC_ACQUIRE))
      return;
    timer_queue& q = queues[cpu];
    bool is_firing;
    {
      lock_guard g(q.lock);
      if (t.is_armed)
        take_out(q, &t);
      is_firing = q.firing == &t && static_cast<unsigned>(cpu) != this_cpu_number();
    }
    if (!is_firing)
      return;
    cpu_relax();
  }
}

u64 run_timers(u64 now) {
  timer_queue& q = queues[this_cpu_number()];
  for (;;) {
    timer* t;
    {
      lock_guard g(q.lock);
      t = q.root;
      if (!t || t->deadline > now)
        return t ? t->deadline : never;
      take_out(q, t);
      KDCHECK(is_valid(q, this_cpu_number()));
      q.firing = t;
    }
    t->fire(t);
    lock_guard g(q.lock);
    q.firing = nullptr;
  }
}

void rearm_local_timer() {
  const u64 flags = save_flags_and_disable();
  timer_queue& q = queues[this_cpu_number()];
  u64 next;
  {
    lock_guard g(q.lock);
    next = q.root ? q.root->deadline : never;
  }
  if (slice_end() < next)
    next = slice_end();
  // An interrupt that comes earlier than needed does no harm, and programming the timer costs more: leave it.
  u64& armed = this_cpu_data()->timer_armed_for;
  if (next < armed) {
    armed = next;
    const u64 now = now_ns();
    local_apic_arm(next > now ? next - now : 0);
  }
  restore_flags(flags);
}

}  // namespace solaster::kernel::sched

#include "kernel/sync/spinlock.hh"

#include "kernel/lib/panic.hh"

namespace solaster::kernel {

void spinlock::wrong_use() {
  panic("a spinlock is taken out of order, or given up by who does not hold it");
}

void spinlock::wait_for_owner(const per_cpu* c) {
  u32 expected;
  do {
    while (_owner.load(std::memory_order_relaxed) != 0)
      cpu_relax();
    expected = 0;
  } while (
      !_owner.compare_exchange_weak(expected, c->lock_owner, std::memory_order_acquire, std::memory_order_relaxed));
}

// Of any rank: who only tries cannot wait in a circle.
bool spinlock::try_lock() {
  per_cpu* c = this_cpu_data();
  u32 expected = 0;
  if (!_owner.compare_exchange_strong(expected, c->lock_owner, std::memory_order_acquire))
    return false;
  KCHECK(c->locks_held < ranks_max);
  c->lock_ranks[c->locks_held++] = static_cast<u8>(_rank);
  return true;
}

}  // namespace solaster::kernel

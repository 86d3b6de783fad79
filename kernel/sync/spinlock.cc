#include "kernel/sync/spinlock.hh"

#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/lib/panic.hh"

namespace solaster::kernel {
namespace {

constexpr u32 ranks_max = sizeof(per_cpu::lock_ranks);

void note_taken(per_cpu* c, rank r) {
  KCHECK(c->locks_held < ranks_max);
  c->lock_ranks[c->locks_held++] = static_cast<u8>(r);
}

}  // namespace

void spinlock::lock() {
  per_cpu* c = this_cpu_data();
  KCHECK(c->locks_held == 0 || c->lock_ranks[c->locks_held - 1] < static_cast<u8>(_rank));
  u32 expected = 0;
  while (!_owner.compare_exchange_weak(expected, c->number + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
    while (_owner.load(std::memory_order_relaxed) != 0)
      cpu_relax();
    expected = 0;
  }
  note_taken(c, _rank);
}

bool spinlock::try_lock() {
  per_cpu* c = this_cpu_data();
  u32 expected = 0;
  if (!_owner.compare_exchange_strong(expected, c->number + 1, std::memory_order_acquire))
    return false;
  note_taken(c, _rank);
  return true;
}

void spinlock::unlock() {
  per_cpu* c = this_cpu_data();
  KCHECK(c->locks_held > 0 && _owner.load(std::memory_order_relaxed) == c->number + 1);
  c->locks_held--;
  _owner.store(0, std::memory_order_release);
}

bool spinlock::is_mine() const {
  return _owner.load(std::memory_order_relaxed) == this_cpu_number() + 1;
}

}  // namespace solaster::kernel

#include "kernel/sched/futex.hh"

#include "kernel/arch/x86_64/traps.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sched/thread.hh"
#include "kernel/sync/spinlock.hh"

// SAFETY (file): a futex is named by its address, a number here; the word is read by guarded instructions only.

namespace solaster::kernel::futex {
namespace {

constexpr usize bucket_count = 256;

struct sleeper {
  sleeper* next = nullptr;
  sleeper* previous = nullptr;
  thread* who = nullptr;
  uptr address = 0;
  u32 bitset = 0;
  std::atomic<bool> woken{false};
};

struct bucket {
  spinlock lock{rank::futex};
  // Threads that are here or about to be, changed under the lock: counted before the word is read, so who changes the
  // word and then reads 0 has nobody to wake (both sequentially consistent).
  std::atomic<u32> waiting{0};
  sleeper* first = nullptr;
  sleeper* last = nullptr;

  void push(sleeper& s) {
    s.next = nullptr;
    s.previous = last;
    (last ? last->next : first) = &s;
    last = &s;
    KDCHECK(is_valid());
  }
  void take(sleeper& s) {
    (s.previous ? s.previous->next : first) = s.next;
    (s.next ? s.next->previous : last) = s.previous;
    waiting.fetch_sub(1, std::memory_order_relaxed);
    KDCHECK(is_valid());
  }
  // Under the lock. Every sleeper hashes to this bucket, or is on its way to another (requeue holds both locks).
  bool is_valid() const {
    u32 n = 0;
    const sleeper* end = nullptr;
    for (const sleeper* s = first; s; end = s, s = s->next, n++) {
      if (s->previous != end || !s->who || s->woken.load())
        return false;
    }
    return end == last && n <= waiting.load();
  }
};
bucket buckets[bucket_count];

bucket& bucket_of(uptr address) {
  return buckets[(address >> 2) * 0x9e3779b97f4a7c15ull >> 56];
}

constexpr int tries = 16;  // for the page of a word: one that another thread unmaps again and again is not worth more

// Calls locked(again), which reads the word under its bucket's lock; when that needs the page first (again), the page
// is made present and it is called anew.
template <typename Locked>
status with_word(u32* address, bool is_written, Locked locked) {
  const uptr a = reinterpret_cast<uptr>(address);
  if (a & 3)
    return errc::inval;
  for (int i = 0; i < tries; i++) {
    bool again = false;
    status s = locked(again);
    if (!again)
      return s;
    if (!mm::fault_in(a, sizeof(u32), is_written))
      return errc::fault;
  }
  return errc::fault;
}

// Under a bucket's lock, where no fault is served: false when the page is not there.
bool read_word(u32& value, const u32* address) {
  return mm::is_program_range(reinterpret_cast<uptr>(address), sizeof(u32)) && load_u32_guarded(&value, address) == 0;
}

// The bucket a sleeper is in may change by requeue: lock, look, try again.
bucket& lock_bucket(sleeper& s) {
  for (;;) {
    const uptr a = __atomic_load_n(&s.address, __ATOMIC_ACQUIRE);
    bucket& b = bucket_of(a);
    b.lock.lock();
    if (s.address == a)
      return b;
    b.lock.unlock();
  }
}

usize wake_locked(bucket& b, uptr address, usize count, u32 bitset) {
  usize n = 0;
  for (sleeper* s = b.first; s && n < count;) {
    sleeper* next = s->next;
    if (s->address == address && (s->bitset & bitset)) {
      thread* who = s->who;
      b.take(*s);
      sched::hold(who);
      s->woken.store(true, std::memory_order_release);  // from here on the sleeper may be gone, and its thread too
      sched::unpark(who);
      sched::drop(who);
      n++;
    }
    s = next;
  }
  return n;
}

enum class arrival : u8 { queued, differs, absent };

// Queues the sleeper if the word still is what it expects; absent: the word's page is to be made present first.
[[gnu::always_inline]] inline arrival arrive(bucket& b, sleeper& s, const u32* address, u32 expected) {
  lock_guard g(b.lock);
  b.waiting.fetch_add(1);
  u32 value;
  const bool is_there = read_word(value, address);
  if (is_there && value == expected) [[likely]] {
    b.push(s);
    return arrival::queued;
  }
  b.waiting.fetch_sub(1, std::memory_order_relaxed);
  return is_there ? arrival::differs : arrival::absent;
}

// A sleeper that was not woken, as far as it knows, goes; false: it has been woken after all.
[[gnu::noinline]] bool leave(sleeper& s) {
  const u64 flags = save_flags_and_disable();
  bucket& b = lock_bucket(s);
  const bool was_queued = !s.woken.load(std::memory_order_acquire);
  if (was_queued)
    b.take(s);
  b.lock.unlock();
  restore_flags(flags);
  return was_queued;
}

[[gnu::noinline]] usize wake_some(bucket& b, uptr address, usize count, u32 bitset) {
  lock_guard g(b.lock);
  return wake_locked(b, address, count, bitset);
}

}  // namespace

status wait(u32* address, u32 expected, u32 bitset, u64 deadline) {
  const uptr a = reinterpret_cast<uptr>(address);
  if (bitset == 0 || (a & 3))
    return errc::inval;
  sleeper me;
  me.who = current();
  me.address = a;
  me.bitset = bitset;
  bucket& b = bucket_of(a);
  arrival came = arrive(b, me, address, expected);
  for (int i = 0; came == arrival::absent; i++) {
    if (i == tries || !mm::fault_in(a, sizeof(u32), false))
      return errc::fault;
    came = arrive(b, me, address, expected);
  }
  if (came == arrival::differs)
    return errc::again;

  // A wake counts, even if the time was up or a signal came.
  while (!me.woken.load(std::memory_order_acquire)) {
    if (me.who->has_work()) [[unlikely]]
      return leave(me) ? status(errc::intr) : status();
    if (sched::park(deadline) == sched::park_result::timed_out) [[unlikely]]
      return leave(me) ? status(errc::timedout) : status();
  }
  return {};
}

usize wake(u32* address, usize count, u32 bitset) {
  const uptr a = reinterpret_cast<uptr>(address);
  bucket& b = bucket_of(a);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // the program's change of the word comes first
  return b.waiting.load() == 0 ? usize{0} : wake_some(b, a, count, bitset);
}

result<usize> requeue(u32* from, usize wake_count, u32* to, usize requeue_count, const u32* expected) {
  const uptr a = reinterpret_cast<uptr>(from), target = reinterpret_cast<uptr>(to);
  if (target & 3)
    return errc::inval;
  usize n = 0;
  status s = with_word(from, false, [&](bool& again) -> status {
    bucket& b1 = bucket_of(a);
    bucket& b2 = bucket_of(target);
    // Two locks of one rank: the second by try, and from the start when it is taken.
    u64 flags = save_flags_and_disable();
    b1.lock.lock();
    while (&b1 != &b2 && !b2.lock.try_lock()) {
      b1.lock.unlock();
      restore_flags(flags);
      cpu_relax();
      flags = save_flags_and_disable();
      b1.lock.lock();
    }
    status r = {};
    u32 value = 0;
    if (expected && !read_word(value, from)) {
      again = true;
    } else if (expected && value != *expected) {
      r = errc::again;
    } else {
      n = wake_locked(b1, a, wake_count, match_any);
      usize moved = 0;
      for (sleeper* w = b1.first; w && moved < requeue_count;) {
        sleeper* next = w->next;
        if (w->address == a && a != target) {
          b2.waiting.fetch_add(1);
          b1.take(*w);
          __atomic_store_n(&w->address, target, __ATOMIC_RELEASE);
          b2.push(*w);
          moved++;
        }
        w = next;
      }
      n += moved;
    }
    if (&b1 != &b2)
      b2.lock.unlock();
    b1.lock.unlock();
    restore_flags(flags);
    return r;
  });
  if (!s)
    return s.error();
  return n;
}

result<u32> change(u32* address, u32 (*next)(u32 old, u32 argument), u32 argument) {
  u32 old = 0;
  status s = with_word(address, true, [&](bool& again) -> status {
    if (!mm::read_u32_nofault(old, address)) {
      again = true;
      return {};
    }
    // Nothing but the exchange itself writes: what the program does to the word meanwhile only makes it fail.
    for (bool exchanged = false; !exchanged;) {
      if (!mm::cmpxchg_u32_nofault(address, old, next(old, argument), exchanged)) {
        again = true;
        return {};
      }
    }
    return {};
  });
  if (!s)
    return s.error();
  return old;
}

}  // namespace solaster::kernel::futex

#include "kernel/direct/shards.hh"

#include <atomic>

#include "kernel/direct/call.hh"
#include "kernel/direct/direct.hh"
#include "kernel/direct/functions.hh"
#include "kernel/include/solaster/direct.h"
#include "kernel/sched/clock.hh"

namespace solaster::kernel::direct {
namespace {

// `token` is the wake that wait() takes; `thread` is set once. The waker sets the token, then unparks; the waiter parks
// only after it found no token, and park() itself remembers an unpark that came in between.
// The timer is private to the shard's thread and to the interrupts of its CPU; the word is the program's to read and
// clear, on a line of its own.
struct alignas(64) preempt_timer : timer {
  alignas(64) std::atomic<u32> word{0};
};

struct alignas(64) shard {
  std::atomic<thread*> who{nullptr};
  std::atomic<u32> token{0};
  preempt_timer preempt;
};
shard shards[SOLASTER_SHARDS_MAX];

std::atomic<u64> claimed_signals{0};
std::atomic<u64> pending_signals{0};
std::atomic<u32> signal_shard{0};

shard* shard_of_current() {
  thread* me = current();
  for (shard& s : shards) {
    if (s.who.load(std::memory_order_relaxed) == me)
      return &s;
  }
  return nullptr;
}

}  // namespace

bool wake_shard(u32 number) {
  if (number >= SOLASTER_SHARDS_MAX)
    return false;
  shard& s = shards[number];
  thread* who = s.who.load(std::memory_order_acquire);
  if (!who)
    return false;
  // A token that is set already has its unpark done or on the way.
  if (s.token.exchange(1) == 0)
    sched::unpark(who);
  return true;
}

unsigned cpu_of_shard(u32 number) {
  if (number >= SOLASTER_SHARDS_MAX)
    return 0;
  thread* who = shards[number].who.load(std::memory_order_acquire);
  const u64 mask = who ? who->affinity.load() : 0;
  return mask ? static_cast<unsigned>(__builtin_ctzll(mask)) : 0;
}

bool take_signal(int number) {
  if (number < 1 || number > 64)
    return false;
  const u64 bit = SOLASTER_SIGNAL_BIT(number);
  if (!(claimed_signals.load(std::memory_order_acquire) & bit))
    return false;
  pending_signals.fetch_or(bit);
  (void)wake_shard(signal_shard.load(std::memory_order_relaxed));
  return true;
}

int shard_bind(u32 number, u32 cpu) {
  if (number >= SOLASTER_SHARDS_MAX || cpu >= sched::cpu_count())
    return einval;
  return on_kernel_stack([=]() -> int {
    thread* me = current();
    thread* nobody = nullptr;
    if (!shards[number].who.compare_exchange_strong(nobody, me)) {
      if (nobody != me)
        return ebusy;
    } else {
      sched::hold(me);  // a wake may come after the thread has ended
    }
    return sched::set_affinity(me, u64{1} << cpu) ? 0 : einval;
  });
}

int wait(u64 deadline) {
  shard* s = shard_of_current();
  if (!s)
    return eperm;
  if (s->token.exchange(0))
    return SOLASTER_WAIT_WOKEN;
  if (deadline != never && now_ns() >= deadline)
    return SOLASTER_WAIT_TIMED_OUT;
  return on_kernel_stack([=]() -> int {
    thread* me = current();
    me->light_switch = true;  // an ordinary C call: vector registers are the caller's to lose
    int result = SOLASTER_WAIT_TIMED_OUT;
    for (;;) {
      if (s->token.exchange(0)) {
        result = SOLASTER_WAIT_WOKEN;
        break;
      }
      if (sched::is_interrupted()) {  // a signal for the thread: delivered when this call has returned
        result = eintr;
        break;
      }
      if (sched::park(deadline) == sched::park_result::timed_out) {
        result = s->token.exchange(0) ? SOLASTER_WAIT_WOKEN : SOLASTER_WAIT_TIMED_OUT;
        break;
      }
    }
    me->light_switch = false;
    return result;
  });
}

int wake(u32 number) {
  call_scope scope;
  return wake_shard(number) ? 0 : esrch;
}

u32* preempt_flag() {
  shard* s = shard_of_current();
  // SAFETY: an atomic<u32> is laid out as a u32; the program has it as such through the C interface.
  return s ? reinterpret_cast<u32*>(&s->preempt.word) : nullptr;
}

int preempt_at(u64 deadline) {
  call_scope scope;
  shard* s = shard_of_current();
  if (!s)
    return eperm;
  if (deadline == never) {
    sched::cancel(s->preempt);
    return 0;
  }
  s->preempt.fire = [](timer* t) { static_cast<preempt_timer*>(t)->word.store(1, std::memory_order_relaxed); };
  sched::arm(s->preempt, deadline);
  return 0;
}

int signals_claim(u64 mask, u32 number) {
  if (number >= SOLASTER_SHARDS_MAX)
    return einval;
  signal_shard.store(number);
  claimed_signals.store(mask);
  return 0;
}

u64 signals_take() {
  return pending_signals.exchange(0);
}

}  // namespace solaster::kernel::direct

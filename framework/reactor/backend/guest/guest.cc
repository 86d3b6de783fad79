// The back end of a shard in a Solaster guest: no system calls, only the direct interface.
//
// Time is the time-stamp counter with the parameters that the kernel publishes; sleeping is wait() on the shard's wake
// token, which interrupts of the NIC's queues and other shards set. There are no file descriptors here.
#include "framework/host/direct.hh"
#include "framework/reactor/backend/backend.hh"
#include "framework/reactor/options.hh"

#include <cerrno>
#include <cstddef>
#include <stdexcept>
#include <system_error>

namespace solaster {
namespace {

// Without a reader's lock: `sequence` says whether the parameters changed meanwhile (direct.h).
class guest_clock {
 public:
  explicit guest_clock(const solaster_clock* c) noexcept : _clock(c) {}

  int64_t now_ns() const noexcept {
    for (;;) {
      uint32_t before = __atomic_load_n(&_clock->sequence, __ATOMIC_ACQUIRE);
      uint64_t elapsed = __builtin_ia32_rdtsc() - _clock->base_tsc;
      auto ns = int64_t(_clock->base_ns + uint64_t((unsigned __int128)elapsed * _clock->mult >> _clock->shift));
      __atomic_signal_fence(__ATOMIC_ACQ_REL);  // x86 keeps loads in order
      if (!(before & 1) && __atomic_load_n(&_clock->sequence, __ATOMIC_RELAXED) == before) [[likely]] {
        return ns;
      }
    }
  }
  int64_t realtime_offset_ns() const noexcept { return __atomic_load_n(&_clock->realtime_offset_ns, __ATOMIC_RELAXED); }

 private:
  const solaster_clock* _clock;
};

static_assert(sizeof(internal::preempt_flag) == sizeof(uint32_t) && internal::preempt_flag::is_always_lock_free);

class guest_backend final : public reactor_backend {
 public:
  guest_backend(const solaster_direct& direct, unsigned shard)
      : _direct(direct), _clock(direct.clock()), _shard(shard) {
    if (direct.size < offsetof(solaster_direct, preempt_at) + sizeof(direct.preempt_at)) {
      throw std::runtime_error("this kernel is older than the program: its direct interface has no preempt_at");
    }
    const auto& cpus = options().cpuset;
    unsigned cpu = shard < cpus.size() ? cpus[shard] : shard;
    if (int error = direct.shard_bind(shard, cpu); error < 0) {
      throw std::system_error(-error, std::generic_category(),
                              "shard " + std::to_string(shard) + " cannot have CPU " + std::to_string(cpu));
    }
    // SAFETY: the kernel's word is shared with its interrupt as an atomic<u32> of its own; the layouts are the same.
    _flag = reinterpret_cast<internal::preempt_flag*>(direct.preempt_flag());
  }
  ~guest_backend() override { _direct.preempt_at(SOLASTER_NEVER); }

  std::string_view name() const noexcept override { return "guest"; }
  instant now() noexcept override {
    // Refined parameters may set the clock back by a little; the promise is that it never goes back.
    int64_t ns = _clock.now_ns();
    return {_last_ns = ns > _last_ns ? ns : _last_ns};
  }
  int64_t read_wall_ns() noexcept override { return _clock.now_ns() + _clock.realtime_offset_ns(); }
  bool poll(bool) override { return false; }
  bool poll_is_cheap() const noexcept override { return true; }
  void wait(instant deadline) override {
    _direct.wait(deadline == instant::never() ? SOLASTER_NEVER : uint64_t(deadline.ns < 0 ? 0 : deadline.ns));
  }
  void wake() noexcept override { _direct.wake(_shard); }
  void preempt_at(instant at) noexcept override { _direct.preempt_at(uint64_t(at.ns)); }
  internal::preempt_flag& preempt_flag() noexcept override { return *_flag; }
  // Fixed: the interrupt that ends a sleep costs little more.
  duration idle_poll_min() const noexcept override { return microseconds(5); }
  duration idle_poll_max() const noexcept override { return microseconds(5); }

 private:
  const solaster_direct& _direct;
  guest_clock _clock;
  unsigned _shard;
  internal::preempt_flag* _flag = nullptr;
  int64_t _last_ns = 0;
};

}  // namespace

std::unique_ptr<reactor_backend> make_guest_backend(unsigned shard) {
  const solaster_direct* direct = find_direct_interface();
  if (!direct) {
    throw std::system_error(ENODEV, std::generic_category(), "the guest back end works in a Solaster guest only");
  }
  return std::make_unique<guest_backend>(*direct, shard);
}

}  // namespace solaster

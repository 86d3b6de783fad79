// The table that the vDSO exports, and its small functions.

#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/direct/call.hh"
#include "kernel/direct/direct.hh"
#include "kernel/direct/functions.hh"
#include "kernel/drivers/console.hh"
#include "kernel/drivers/host_channel.hh"
#include "kernel/drivers/power.hh"
#include "kernel/lib/entropy.hh"
#include "kernel/mm/user_access.hh"

namespace solaster::kernel::direct {
namespace {

const solaster_clock* clock() {
  return clock_parameters();
}

int entropy(void* buffer, size_t length) {
  return on_kernel_stack([=]() -> int {
    u8 piece[256];
    auto* at = static_cast<u8*>(buffer);
    for (usize left = length; left;) {
      const usize n = left < sizeof piece ? left : sizeof piece;
      random_bytes(piece, n);
      if (!mm::copy_out(at, piece, n))
        return efault;
      at += n;
      left -= n;
    }
    return 0;
  });
}

int log_text(const char* text, size_t length) {
  return on_kernel_stack([=]() -> int {
    // Whole lines up to a piece stay together.
    char piece[2048];
    for (usize at = 0; at < length;) {
      const usize n = length - at < sizeof piece ? length - at : sizeof piece;
      if (!mm::copy_in(piece, text + at, n))
        return efault;
      console::write({piece, n});
      at += n;
    }
    return 0;
  });
}

void end(int status) {
  kernel::power_off(status & 0xff);
}

int cpu_stats(u32 cpu, solaster_cpu_stats* out) {
  if (cpu >= sched::cpu_count())
    return einval;
  return on_kernel_stack([=]() -> int {
    const cpu_statistics& s = statistics_of(cpu);
    const solaster_cpu_stats copy{s.interrupts,        s.timer_interrupts, s.ipis,        s.context_switches,
                                  sched::idle_ns(cpu), s.tlb_flushes,      s.page_faults, s.system_calls};
    return mm::copy_out(out, &copy, sizeof copy) ? 0 : efault;
  });
}

int cpu_count() {
  return static_cast<int>(sched::cpu_count());
}

int tell_host(const char* line, size_t length) {
  if (length > SOLASTER_HOST_LINE_MAX)
    return einval;
  return on_kernel_stack([=]() -> int {
    char copy[SOLASTER_HOST_LINE_MAX];
    if (!mm::copy_in(copy, line, length))
      return efault;
    for (usize i = 0; i < length; i++)
      if (static_cast<u8>(copy[i]) < ' ')
        return einval;
    return host_channel::tell({copy, length}) ? 0 : enodev;
  });
}

const solaster_direct the_table{.version = SOLASTER_DIRECT_VERSION,
                                .size = sizeof(solaster_direct),
                                .features = 0,
                                .shard_bind = shard_bind,
                                .wait = wait,
                                .wake = wake,
                                .nic_count = nic_count,
                                .nic_claim = nic_claim,
                                .nic_bind_vector = nic_bind_vector,
                                .nic_release = nic_release,
                                .shard_memory = shard_memory,
                                .memory_available = memory_available,
                                .clock = clock,
                                .entropy = entropy,
                                .log = log_text,
                                .power_off = end,
                                .signals_claim = signals_claim,
                                .signals_take = signals_take,
                                .cpu_stats = cpu_stats,
                                .cpu_count = cpu_count,
                                .preempt_flag = preempt_flag,
                                .preempt_at = preempt_at,
                                .tell_host = tell_host};

}  // namespace

const solaster_direct* table() {
  return &the_table;
}

}  // namespace solaster::kernel::direct

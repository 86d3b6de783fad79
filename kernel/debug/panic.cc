// SAFETY (file): the asm reads registers or stops the processor; the machine is at its end.
#include "kernel/lib/panic.hh"

#include <atomic>

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/frame.hh"
#include "kernel/arch/x86_64/per_cpu.hh"
#include "kernel/arch/x86_64/smp.hh"
#include "kernel/drivers/console.hh"
#include "kernel/drivers/power.hh"
#include "kernel/lib/symbols.hh"
#include "kernel/mm/frames.hh"
#include "kernel/sched/hooks.hh"
#include "kernel/sched/thread.hh"

namespace solaster::kernel {
namespace {

constexpr int panic_status = 126;
std::atomic<u32> panicking{0};  // CPU number + 1 of the first

template <typename... Args>
void say(std::string_view fmt, const Args&... args) {
  char line[400];
  console::write_unlocked(format_to(line, sizeof line, fmt, args...));
}

void print_registers(const trap_frame& f) {
  say("  rip {:016x} cs {:x} rflags {:x} rsp {:016x} ss {:x} vector {} error {:x}\n", f.rip, f.cs, f.rflags, f.rsp,
      f.ss, f.vector, f.error);
  say("  rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}\n", f.rax, f.rbx, f.rcx, f.rdx);
  say("  rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}\n", f.rsi, f.rdi, f.rbp, f.r8);
  say("  r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}\n", f.r9, f.r10, f.r11, f.r12);
  say("  r13 {:016x} r14 {:016x} r15 {:016x} cr2 {:016x} cr3 {:x}\n", f.r13, f.r14, f.r15, read_cr2(), read_cr3());
}

constexpr unsigned backtrace_lines_max = 24;
constexpr usize frames_max = 4096;

// A recursion is one line with a count.
struct backtrace {
  u64 last = 0;
  u64 repeats = 0;
  unsigned lines = 0;
};

void end_repeats(backtrace& b) {
  if (b.repeats)
    say("  (and {} times more)\n", b.repeats);
  b.repeats = 0;
}

void print_address(void* context, u64 address) {
  auto& b = *static_cast<backtrace*>(context);
  if (address == b.last) {
    b.repeats++;
    return;
  }
  if (b.lines == backtrace_lines_max)
    return;
  end_repeats(b);
  b.last = address;
  b.lines++;
  if (is_kernel_text(address)) {
    symbol s = find_symbol(address);
    say("  {:016x} {}+0x{:x}\n", address, s.name.empty() ? std::string_view("?") : s.name, s.offset);
  } else {
    say("  {:016x} (program)\n", address);
  }
}

void print_statistics() {
  for (unsigned i = 0; i < sched::online_count(); i++) {
    const cpu_statistics& s = statistics_of(i);
    say("  cpu {}: interrupts {} timer {} ipis {} switches {} tlb flushes {} faults {} system calls {}\n", i,
        s.interrupts, s.timer_interrupts, s.ipis, s.context_switches, s.tlb_flushes, s.page_faults, s.system_calls);
  }
  say("  memory: {} of {} KiB free\n", mm::free_bytes() >> 10, mm::total_bytes() >> 10);
}

[[noreturn]] void halt() {
  for (;;)
    asm volatile("cli; hlt");
}

}  // namespace

bool is_panicking() {
  return panicking.load(std::memory_order_relaxed) != 0;
}

void vpanic(const trap_frame* frame, std::string_view fmt, const format_arg* args, usize count) {
  disable_interrupts();
  const u32 me = this_cpu_number() + 1;
  u32 expected = 0;
  if (!panicking.compare_exchange_strong(expected, me)) {
    if (expected != me)
      halt();
    say("panic inside the panic\n");
    power_off(panic_status);
  }
  stop_other_cpus();
  char line[400];
  std::string_view text = vformat(line, sizeof line, fmt, args, count);
  say("\nsolaster: panic on cpu {}: {}\n", me - 1, text);
  thread* t = current();
  if (t)
    say("  thread '{}' depth {}\n", static_cast<const char*>(t->name), t->depth.load());
  u64 rip, rbp;
  if (frame) {
    print_registers(*frame);
    rip = frame->rip;
    rbp = frame->rbp;
  } else {
    rip = reinterpret_cast<u64>(__builtin_return_address(0));
    rbp = reinterpret_cast<u64>(__builtin_frame_address(0));
    trap_frame here{};
    here.rip = rip;
    here.rbp = rbp;
    asm volatile("movq %%rsp, %0; movq %%rbx, %1; movq %%r12, %2; movq %%r13, %3; movq %%r14, %4; movq %%r15, %5"
                 : "=m"(here.rsp), "=m"(here.rbx), "=m"(here.r12), "=m"(here.r13), "=m"(here.r14), "=m"(here.r15));
    asm volatile("pushfq; popq %0" : "=r"(here.rflags));
    asm volatile("movw %%cs, %w0" : "=r"(here.cs));
    asm volatile("movw %%ss, %w0" : "=r"(here.ss));
    print_registers(here);
    rip = 0;
  }
  say("backtrace:\n");
  backtrace trace;
  walk_frames(rip, rbp, frames_max, print_address, &trace);
  end_repeats(trace);
  if (t && t->task)
    task::describe_program(t);
  print_statistics();
  power_off(panic_status);
}

void vrefuse(std::string_view fmt, const format_arg* args, usize count) {
  log::vwrite(log::level::fatal, fmt, args, count);
  power_off(panic_status);
}

void check_failed(const char* expression, const char* file, int line) {
  panic("CHECK failed: {} at {}:{}", expression, file, line);
}

}  // namespace solaster::kernel

// How a program ends that did something it must not: the reason in one line, a backtrace, and the machine off.

#include <atomic>
#include <utility>

#include "kernel/arch/x86_64/smp.hh"
#include "kernel/lib/demangle.hh"
#include "kernel/lib/print.hh"
#include "kernel/lib/symbols.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/paging.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sched/hooks.hh"
#include "kernel/task/signal.hh"
#include "kernel/task/unwind.hh"

namespace solaster::kernel::task {

namespace {

constexpr u32 page_fault = 14;  // the vector
constexpr usize frames_max = 24;
// By unwind tables: lines printed (a recursion is one), and frames looked at.
constexpr usize lines_max = 64, steps_max = 1 << 20;
// How much of the stack is looked through where there is no chain of frames.
constexpr u64 searched_bytes = 2048;
// An access below here is through a null pointer with an offset (a field, an index).
constexpr uptr null_zone = mm::program_base;
// How far from the stack pointer an access of a stack that is full can be.
constexpr u64 stack_reach = 256u << 10;

constexpr const char* names[] = {"?",      "HUP",  "INT",    "QUIT", "ILL",   "TRAP", "ABRT", "BUS",
                                 "FPE",    "KILL", "USR1",   "SEGV", "USR2",  "PIPE", "ALRM", "TERM",
                                 "STKFLT", "CHLD", "CONT",   "STOP", "TSTP",  "TTIN", "TTOU", "URG",
                                 "XCPU",   "XFSZ", "VTALRM", "PROF", "WINCH", "IO",   "PWR",  "SYS"};

// Prints frames; a run of the same address (recursion) becomes one line.
class frame_printer {
 public:
  void add(u64 address, bool is_return) {
    if (address == _last) {
      _repeats++;
      return;
    }
    end_run();
    _last = address;
    _lines++;
    print(address, is_return);
  }
  void end_run() {
    if (_repeats)
      log::write(log::level::fatal, "  ... the same {} more times", _repeats);
    _index += _repeats;
    _repeats = 0;
  }
  usize index() const { return _index + _repeats; }
  usize lines() const { return _lines; }

 private:
  void print(u64 address, bool is_return) {
    // A return address may be the first byte of the next function: look up the call.
    u64 looked_up = is_return ? address - 1 : address;
    bool in_kernel = is_kernel_text(address);
    auto k = in_kernel ? find_symbol(looked_up) : symbol{};
    auto p = in_kernel ? program_symbol{} : find_program_symbol(looked_up);
    char readable[160];
    auto name = in_kernel ? k.name : demangle(p.name, readable);
    u64 offset = (in_kernel ? k.offset : p.offset) + (is_return ? 1 : 0);
    if (name.empty())
      log::write(log::level::fatal, "  #{} {:016x}", _index++, address);
    else
      log::write(log::level::fatal, "  #{} {:016x} {}+0x{:x}{}", _index++, address, name, offset,
                 in_kernel ? " (kernel)" : "");
  }

  u64 _last = ~u64{0};
  usize _index = 0, _repeats = 0, _lines = 0;
};

bool is_program_code(u64 address) {
  if (!mm::is_program_range(address, 1))
    return false;
  if (is_panicking()) {  // the areas' lock may be held by who will never let it go: ask the page table
    const u64* entry = paging::find_entry(address, false);
    return entry && (*entry & paging::present) && !(*entry & paging::no_execute);
  }
  mm::area_info area;
  return mm::find_area(address, area) && area.start <= address && (area.prot & mm::prot_exec);
}

// Whether a call instruction ends at `address`: call rel32, or call through a register or memory in its usual lengths.
bool follows_call(u64 address) {
  u8 before[7];
  if (!is_program_code(address - sizeof before) || !is_program_code(address) ||
      !mm::copy_in(before, mm::program_pointer<const void>(address - sizeof before), sizeof before))
    return false;
  auto indirect = [&](usize length) { return before[7 - length] == 0xff && (before[8 - length] >> 3 & 7) == 2; };
  return before[2] == 0xe8 || indirect(2) || indirect(3) || indirect(6) || (indirect(7) && before[1] >> 6 == 2);
}

void follow_frames(frame_printer& out, u64 rip, u64 rbp) {
  struct context {
    frame_printer* out;
    u64 rip;  // the walk may start with it; it has been printed
  } c{&out, rip};
  walk_frames(
      rip, rbp, frames_max,
      [](void* p, u64 address) {
        auto* c = static_cast<context*>(p);
        if (address != std::exchange(c->rip, 0) && (is_kernel_text(address) || is_program_code(address)))
          c->out->add(address, true);
      },
      &c);
}

// Code without unwind tables and a broken chain of frame pointers: return addresses are looked for on the stack, until
// one has a saved frame pointer below it; from there the chain is followed.
void search_stack(frame_printer& out, u64 rsp) {
  u64 below = 0;
  for (u64 at = rsp & ~u64{7}; at < rsp + searched_bytes; at += 8) {
    u64 word;
    if (!mm::get(word, mm::program_pointer<const u64>(at)))
      return;
    if (follows_call(word)) {
      out.add(word, true);
      if (below > at && below < at + main_stack_bytes && below % 8 == 0)
        return follow_frames(out, word, below);
    }
    below = word;
  }
}

bool read_word(u64 address, u64& value) {
  return mm::get(value, mm::program_pointer<const u64>(address));
}

// By the program's unwind tables; false when they do not tell even the first caller.
bool unwind(frame_printer& out, const trap_frame& f) {
  auto& p = the_process();
  if (!p.executable)
    return false;
  const unwinder tables(p.executable->stable_content(), p.load_bias, read_word);
  unwind_registers r{{f.rax, f.rdx, f.rcx, f.rbx, f.rsi, f.rdi, f.rbp, f.rsp, f.r8, f.r9, f.r10, f.r11, f.r12, f.r13,
                      f.r14, f.r15, f.rip}};
  bool is_return = false;
  if (!is_program_code(f.rip)) {
    // A jump through a bad pointer: the caller is what the call left on the stack.
    u64 word;
    if (!read_word(f.rsp, word) || !follows_call(word))
      return false;
    r.value[unwind_registers::rip] = word;
    r.value[unwind_registers::rsp] += sizeof word;
    out.add(word, true);
    is_return = true;
  }
  bool any = is_return;
  for (usize i = 0; i < steps_max && out.lines() < lines_max && tables.step(r, is_return); i++) {
    is_return = any = true;
    out.add(r.value[unwind_registers::rip], true);
  }
  return any;
}

void print_backtrace(const trap_frame* frame) {
  frame_printer out;
  out.add(frame->rip, false);
  if (!is_kernel_text(frame->rip) && unwind(out, *frame))
    return out.end_run();
  bool has_chain = frame->rbp >= frame->rsp && frame->rbp - frame->rsp < main_stack_bytes;
  if (has_chain)
    follow_frames(out, frame->rip, frame->rbp);
  if (out.index() < 2)
    search_stack(out, frame->rsp);
  out.end_run();
}

// Whether the access hit the guard below a stack: close to the stack pointer, and nothing may be there.
bool is_stack_overflow(const trap_frame* frame, uptr address) {
  u64 low = frame->rsp > stack_reach ? frame->rsp - stack_reach : 0;
  if (address < low || address >= frame->rsp + page_size)
    return false;
  mm::area_info area;
  bool found = mm::find_area(address, area);
  if (!found || area.start > address)
    return true;
  return area.prot == mm::prot_none;
}

std::string_view describe_page_fault(const trap_frame* frame, const fault_info& f, char* out, usize size) {
  bool is_write = f.error & 2, is_fetch = f.error & 16;
  const char* access = is_fetch ? "jump to" : is_write ? "write to" : "read of";
  if (f.no_memory)
    return format_to(out, size, "out of memory ({} {:x})", access, f.address);
  if (f.past_end)
    return format_to(out, size, "{} address 0x{:x}, behind the end of the mapped file", access, f.address);
  if (f.address < null_zone)
    return format_to(out, size, "null pointer dereference: {} address 0x{:x}", access, f.address);
  if (is_stack_overflow(frame, f.address))
    return format_to(out, size, "stack overflow: {} address 0x{:x}", access, f.address);
  return format_to(out, size, "{} address 0x{:x}, which is {}", access, f.address,
                   !f.is_mapped ? "not mapped"
                   : is_fetch   ? "not executable"
                   : is_write   ? "not writable"
                                : "not readable");
}

struct exception_signal {
  int number;
  i32 code;
  const char* reason;
};

exception_signal signal_of(const fault_info& f) {
  switch (f.vector) {
    case 0:
      return {abi::sig_fpe, abi::fpe_intdiv, "integer division by zero or overflow"};
    case 1:
      return {abi::sig_trap, abi::trap_trace, "single step"};
    case 3:
      return {abi::sig_trap, abi::trap_brkpt, "breakpoint"};
    case 4:
      return {abi::sig_segv, abi::si_kernel, "overflow trap"};
    case 5:
      return {abi::sig_segv, abi::si_kernel, "bound exceeded"};
    case 6:
      return {abi::sig_ill, abi::ill_illopn, "invalid instruction"};
    case 10:
    case 11:
    case 12:
      return {abi::sig_bus, abi::si_kernel, "segment or stack fault"};
    case 13:
      return {abi::sig_segv, abi::si_kernel,
              "general protection fault (a non-canonical address or a misaligned vector access)"};
    case 14:
      if (f.past_end)
        return {abi::sig_bus, abi::bus_adrerr, nullptr};
      return {abi::sig_segv, f.is_mapped ? abi::segv_accerr : abi::segv_maperr, nullptr};
    case 16:
    case 19:
      return {abi::sig_fpe, abi::fpe_fltinv, "floating-point exception"};
    case 17:
      return {abi::sig_bus, abi::bus_adraln, "misaligned access"};
    default:
      return {abi::sig_segv, abi::si_kernel, "unexpected exception"};
  }
}

}  // namespace

const char* signal_name(int number) {
  return number > 0 && number < int(std::size(names)) ? names[number] : "?";
}

void die(const trap_frame* frame, int number, std::string_view reason) {
  static std::atomic<bool> is_dying{false};
  if (is_dying.exchange(true))
    for (;;)
      sched::park();  // another thread's report is being written; the machine ends with it
  auto& t = current_task();
  log::write(log::level::fatal, "program killed by SIG{}: {} (thread {} \"{}\")", signal_name(number),
             reason.empty() ? std::string_view("no handler") : reason, t.tid,
             static_cast<const char*>(current()->name));
  log::write(log::level::fatal, "  rip {:016x} rsp {:016x} rbp {:016x} rax {:016x}", frame->rip, frame->rsp, frame->rbp,
             frame->rax);
  print_backtrace(frame);
  end_process_by_signal(number);
}

void on_program_fault(trap_frame* frame, const fault_info& fault) {
  auto s = signal_of(fault);
  auto info = make_siginfo(s.number, s.code);
  info.fault.addr = fault.vector == page_fault ? fault.address : s.code == abi::si_kernel ? 0 : frame->rip;
  char reason[128];
  std::string_view text =
      fault.vector == page_fault ? describe_page_fault(frame, fault, reason, sizeof reason) : s.reason;
  if (fault.no_memory)
    die(frame, abi::sig_kill, text);
  force_signal(frame, info, text);
}

void die_in_direct_call(const trap_frame* frame, const fault_info& fault) {
  die(frame, abi::sig_segv,
      fault.vector == page_fault ? "the stack of a direct call is gone" : signal_of(fault).reason);
}

void describe_program(thread* t) {
  auto& p = the_process();
  if (!t || !t->task)
    return;
  log::write(log::level::fatal, "program {} (loaded at {:x}), thread {} \"{}\"",
             static_cast<const char*>(p.executable_path), p.load_bias, t->task->tid, static_cast<const char*>(t->name));
  if (t->entry_frame)
    print_backtrace(t->entry_frame);
}

}  // namespace solaster::kernel::task

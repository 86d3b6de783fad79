// How a program ends that did something it must not: the reason in one line, a backtrace, and the machine off.

#include "kernel/lib/print.hh"
#include "kernel/lib/symbols.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/task/hooks.hh"
#include "kernel/task/signal.hh"

namespace solaster::kernel::task {

namespace {

constexpr usize frames_max = 24;
// An access below here is through a null pointer with an offset (a field, an index).
constexpr uptr null_zone = mm::program_base;
// How far from the stack pointer an access of a stack that is full can be.
constexpr u64 stack_reach = 256u << 10;

constexpr const char* names[] = {"?",    "HUP",  "INT",  "QUIT", "ILL",  "TRAP",   "ABRT", "BUS",  "FPE",  "KILL", "USR1",
                                 "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN",
                                 "TTOU", "URG",  "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",  "PWR",  "SYS"};

struct walk_state {
  usize index = 0;
};

void print_frame(walk_state& w, u64 address, bool is_return) {
  // A return address may be the first byte of the next function: look up the call.
  u64 looked_up = is_return ? address - 1 : address;
  if (is_kernel_text(address)) {
    auto s = find_symbol(looked_up);
    log::write(log::level::fatal, "  #{} {:016x} {}+{:x} (kernel)", w.index++, address, s.name.empty() ? "?" : s.name, s.offset);
    return;
  }
  auto s = find_program_symbol(looked_up);
  u64 offset = s.offset + (is_return ? 1 : 0);
  if (s.name.empty())
    log::write(log::level::fatal, "  #{} {:016x} ?", w.index++, address);
  else
    log::write(log::level::fatal, "  #{} {:016x} {}+0x{:x}", w.index++, address, s.name, offset);
}

bool is_program_code(u64 address) {
  mm::area_info area;
  return mm::is_program_range(address, 1) && mm::find_area(address, area) && area.start <= address &&
         (area.prot & mm::prot_exec);
}

void print_backtrace(const trap_frame* frame) {
  walk_state w;
  print_frame(w, frame->rip, false);
  // A jump through a bad pointer: the caller is what the call left on the stack.
  u64 word;
  if (!is_program_code(frame->rip) && mm::get(word, reinterpret_cast<const u64*>(frame->rsp)) && is_program_code(word))
    print_frame(w, word, true);
  walk_frames(
      frame->rip, frame->rbp, frames_max,
      [](void* context, u64 address) { print_frame(*static_cast<walk_state*>(context), address, true); }, &w);
}

// Whether the access hit the guard below a stack: close to the stack pointer, and nothing may be there.
bool is_stack_overflow(const trap_frame* frame, uptr address) {
  u64 low = frame->rsp > stack_reach ? frame->rsp - stack_reach : 0;
  if (address < low || address >= frame->rsp + page_size) return false;
  mm::area_info area;
  bool found = mm::find_area(address, area);
  if (!found || area.start > address) return true;
  return area.prot == mm::prot_none;
}

std::string_view describe_page_fault(const trap_frame* frame, const fault_info& f, char* out, usize size) {
  bool is_write = f.error & 2, is_fetch = f.error & 16;
  const char* access = is_fetch ? "jump to" : is_write ? "write to" : "read of";
  if (f.no_memory) return format_to(out, size, "out of memory ({} {:x})", access, f.address);
  if (f.address < null_zone) return format_to(out, size, "null pointer dereference: {} address 0x{:x}", access, f.address);
  if (is_stack_overflow(frame, f.address)) return format_to(out, size, "stack overflow: {} address 0x{:x}", access, f.address);
  return format_to(out, size, "{} address 0x{:x}, which is {}", access, f.address,
                   !f.is_mapped ? "not mapped" : is_fetch ? "not executable" : is_write ? "not writable" : "not readable");
}

struct exception_signal {
  int number;
  i32 code;
  const char* reason;
};

exception_signal signal_of(const fault_info& f) {
  switch (f.vector) {
    case 0: return {abi::sig_fpe, abi::fpe_intdiv, "integer division by zero or overflow"};
    case 1: return {abi::sig_trap, abi::trap_trace, "single step"};
    case 3: return {abi::sig_trap, abi::trap_brkpt, "breakpoint"};
    case 4: return {abi::sig_segv, abi::si_kernel, "overflow trap"};
    case 5: return {abi::sig_segv, abi::si_kernel, "bound exceeded"};
    case 6: return {abi::sig_ill, abi::ill_illopn, "invalid instruction"};
    case 10:
    case 11:
    case 12: return {abi::sig_bus, abi::si_kernel, "segment or stack fault"};
    case 13: return {abi::sig_segv, abi::si_kernel, "general protection fault (a non-canonical address or a misaligned vector access)"};
    case 14: return {abi::sig_segv, f.is_mapped ? abi::segv_accerr : abi::segv_maperr, nullptr};
    case 16:
    case 19: return {abi::sig_fpe, abi::fpe_fltinv, "floating-point exception"};
    case 17: return {abi::sig_bus, abi::bus_adraln, "misaligned access"};
    default: return {abi::sig_segv, abi::si_kernel, "unexpected exception"};
  }
}

}  // namespace

const char* signal_name(int number) { return number > 0 && number < int(std::size(names)) ? names[number] : "?"; }

void die(const trap_frame* frame, int number, std::string_view reason) {
  auto& t = current_task();
  log::write(log::level::fatal, "program killed by SIG{}: {} (thread {} \"{}\")", signal_name(number),
             reason.empty() ? std::string_view("no handler") : reason, t.tid, static_cast<const char*>(current()->name));
  log::write(log::level::fatal, "  rip {:016x} rsp {:016x} rbp {:016x} rax {:016x}", frame->rip, frame->rsp, frame->rbp,
             frame->rax);
  print_backtrace(frame);
  end_process_by_signal(number);
}

void on_program_fault(trap_frame* frame, const fault_info& fault) {
  auto s = signal_of(fault);
  auto info = make_siginfo(s.number, s.code);
  info.fault.addr = fault.vector == 14 ? fault.address : s.code == abi::si_kernel ? 0 : frame->rip;
  char reason[128];
  std::string_view text = fault.vector == 14 ? describe_page_fault(frame, fault, reason, sizeof reason) : s.reason;
  if (fault.no_memory) die(frame, abi::sig_bus, text);
  auto& p = the_process();
  bool has_handler;
  {
    lock_guard guard(p.signal_lock);
    u64 handler = p.actions[s.number - 1].handler;
    has_handler = handler != abi::sig_dfl && handler != abi::sig_ign && !(current_task().blocked & signal_bit(s.number));
  }
  if (!has_handler) die(frame, s.number, text);
  force_signal(frame, info);
}

void describe_program(thread* t) {
  auto& p = the_process();
  if (!t || !t->task) return;
  log::write(log::level::fatal, "program {} (loaded at {:x}), thread {} \"{}\"", static_cast<const char*>(p.executable_path),
             p.load_bias, t->task->tid, static_cast<const char*>(t->name));
  if (t->entry_frame) print_backtrace(t->entry_frame);
}

}  // namespace solaster::kernel::task

// The frame that a signal handler runs on, and the way back from it.
//
// Spec: Linux arch/x86/kernel/signal_64.c (x64_setup_rt_frame, sigreturn), fpu/signal.c (copy_fpstate_to_sigframe).

#include <cstring>

#include "kernel/arch/x86_64/xstate.hh"
#include "kernel/lib/memory.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/task/signal.hh"

namespace solaster::kernel::task {

namespace {

constexpr u64 red_zone_bytes = 128;
constexpr u64 fxsave_bytes = 512;
constexpr u64 fx_software_offset = 464;
constexpr u64 xstate_header_offset = 512;
// What a handler may change in the flags (Linux's FIX_EFLAGS): AC OF DF TF SF ZF AF PF CF RF.
constexpr u64 flags_mask = 0x50dd5;

// The thread's scratch area; null: out of memory.
std::byte* xstate_scratch(task_state& t) {
  if (!t.xstate)
    t.xstate = static_cast<std::byte*>(kmalloc(xstate_size() + 64));
  if (!t.xstate)
    return nullptr;
  // SAFETY: 64 bytes more than needed were allocated.
  return reinterpret_cast<std::byte*>(align_up(reinterpret_cast<uptr>(t.xstate), 64));
}

bool save_xstate(task_state& t, uptr to) {
  auto* area = xstate_scratch(t);
  if (!area)
    return false;
  usize size = xstate_size();
  std::memset(area, 0, size);
  xstate_save(area);
  abi::fpx_sw_bytes sw = {};
  sw.magic1 = abi::fp_xstate_magic1;
  sw.extended_size = u32(size + 4);
  sw.xfeatures = xstate_mask();
  sw.xstate_size = u32(size);
  std::memcpy(area + fx_software_offset, &sw, sizeof sw);
  return mm::copy_out(mm::program_pointer<void>(to), area, size) &&
         mm::put(mm::program_pointer<u32>(to + size), abi::fp_xstate_magic2);
}

bool load_xstate(task_state& t, uptr from) {
  if (!from) {
    xstate_reset();
    return true;
  }
  auto* area = xstate_scratch(t);
  usize size = xstate_size();
  if (!area)
    return false;
  abi::fpx_sw_bytes sw;
  u32 magic2 = 0;
  if (!mm::copy_in(area, mm::program_pointer<void>(from), fxsave_bytes))
    return false;
  std::memcpy(&sw, area + fx_software_offset, sizeof sw);
  bool is_whole = sw.magic1 == abi::fp_xstate_magic1 && sw.xstate_size == size &&
                  mm::get(magic2, mm::program_pointer<u32>(from + size)) && magic2 == abi::fp_xstate_magic2;
  if (is_whole) {
    if (!mm::copy_in(area, mm::program_pointer<void>(from), size))
      return false;
  } else {  // only the x87 and SSE part, as a program that knows no more would leave it
    std::memset(area + fxsave_bytes, 0, size - fxsave_bytes);
    u64 components = 3;
    std::memcpy(area + xstate_header_offset, &components, sizeof components);
  }
  std::memset(area + fx_software_offset, 0, fxsave_bytes - fx_software_offset);
  xstate_load(area);
  return true;
}

abi::sigcontext save_registers(const trap_frame& f) {
  abi::sigcontext c = {};
  c.r8 = f.r8, c.r9 = f.r9, c.r10 = f.r10, c.r11 = f.r11, c.r12 = f.r12, c.r13 = f.r13, c.r14 = f.r14, c.r15 = f.r15;
  c.rdi = f.rdi, c.rsi = f.rsi, c.rbp = f.rbp, c.rbx = f.rbx, c.rdx = f.rdx, c.rax = f.rax, c.rcx = f.rcx;
  c.rsp = f.rsp, c.rip = f.rip, c.rflags = f.rflags;
  // A program that looks finds Linux's user selectors; they are not loaded on the way back.
  c.cs = 0x33, c.ss = 0x2b;
  if (f.vector != trap_vector_syscall)
    c.err = f.error, c.trapno = f.vector;
  return c;
}

void restore_registers(trap_frame& f, const abi::sigcontext& c) {
  f.r8 = c.r8, f.r9 = c.r9, f.r10 = c.r10, f.r11 = c.r11, f.r12 = c.r12, f.r13 = c.r13, f.r14 = c.r14, f.r15 = c.r15;
  f.rdi = c.rdi, f.rsi = c.rsi, f.rbp = c.rbp, f.rbx = c.rbx, f.rdx = c.rdx, f.rax = c.rax, f.rcx = c.rcx;
  f.rsp = c.rsp, f.rip = c.rip;
  f.rflags = (f.rflags & ~flags_mask) | (c.rflags & flags_mask);
}

bool is_on(const abi::stack_t& stack, u64 rsp) {
  return !(stack.flags & abi::ss_disable) && rsp > stack.sp && rsp - stack.sp <= stack.size;
}

// The way back to the program is an iretq, which must not fault on another processor's idea of an address.
bool is_canonical(u64 address) {
  return u64(i64(address << 16) >> 16) == address;
}

}  // namespace

bool on_alternate_stack(u64 rsp) {
  auto& a = current_task().alt_stack;
  return !(a.flags & abi::ss_autodisarm) && is_on(a, rsp);
}

result<abi::stack_t> check_alternate_stack(abi::stack_t wanted) {
  const i32 mode = wanted.flags & ~abi::ss_autodisarm;
  if (mode != 0 && mode != abi::ss_disable && mode != abi::ss_onstack)
    return errc::inval;
  if (mode == abi::ss_disable)
    return abi::stack_t{0, wanted.flags, 0, 0};
  if (wanted.size < abi::minsigstksz)
    return errc::nomem;
  return wanted;
}

u64 signal_frame_max() {
  // The extended state on 64 bytes with its second magic number, the frame on 16 and 8 below.
  return align_up(sizeof(abi::rt_sigframe) + 16 + 8 + xstate_size() + sizeof(u32) + 64, 16);
}

bool make_signal_frame(trap_frame* frame, const abi::sigaction& action, const abi::siginfo& info, signal_set mask) {
  auto& t = current_task();
  if (!is_canonical(action.handler))
    return false;
  const bool was_on_it = on_alternate_stack(frame->rsp);
  const bool goes_to_it = (action.flags & abi::sa_onstack) && !(t.alt_stack.flags & abi::ss_disable) && !was_on_it;
  const uptr top = goes_to_it ? t.alt_stack.sp + t.alt_stack.size : frame->rsp - red_zone_bytes;
  uptr fp = align_down(top - xstate_size() - sizeof(u32), 64);
  uptr at = align_down(fp - sizeof(abi::rt_sigframe), 16) - 8;
  // Below the alternate stack is memory that is somebody else's.
  if ((goes_to_it || was_on_it) && !is_on(t.alt_stack, at))
    return false;
  if (!save_xstate(t, fp))
    return false;
  abi::rt_sigframe f = {};
  f.pretcode = action.restorer;
  f.uc.flags = abi::uc_fp_xstate | abi::uc_sigcontext_ss | abi::uc_strict_restore_ss;
  f.uc.stack = t.alt_stack;
  f.uc.mcontext = save_registers(*frame);
  f.uc.mcontext.oldmask = mask;
  f.uc.mcontext.fpstate = fp;
  if (info.signo == abi::sig_segv || info.signo == abi::sig_bus)
    f.uc.mcontext.cr2 = info.fault.addr;
  f.uc.sigmask = mask;
  f.info = info;
  if (!mm::put(mm::program_pointer<abi::rt_sigframe>(at), f))
    return false;
  xstate_reset();  // what the handler starts with, as on Linux: the control words' defaults, and no vector state
  if (t.alt_stack.flags & abi::ss_autodisarm)
    t.alt_stack = {0, abi::ss_disable, 0, 0};
  frame->rdi = u64(info.signo);
  frame->rsi = at + offsetof(abi::rt_sigframe, info);
  frame->rdx = at + offsetof(abi::rt_sigframe, uc);
  frame->rax = 0;
  frame->rip = action.handler;
  frame->rsp = at;
  frame->rflags &= ~(rflags_df | rflags_tf | (u64{1} << 16));
  return true;
}

bool restore_signal_frame(trap_frame* frame) {
  auto& t = current_task();
  abi::ucontext uc;
  // The handler's return popped pretcode.
  uptr at = frame->rsp - 8;
  if (!mm::get(uc, mm::program_pointer<abi::ucontext>(at + offsetof(abi::rt_sigframe, uc))))
    return false;
  if (!is_canonical(uc.mcontext.rip) || !load_xstate(t, uc.mcontext.fpstate))
    return false;
  restore_registers(*frame, uc.mcontext);
  frame->full_return = 1;
  frame->vector = trap_vector_syscall + 1;  // not a system call to be restarted
  set_blocked(uc.sigmask);
  auto alternate = check_alternate_stack(uc.stack);
  if (alternate && !on_alternate_stack(frame->rsp))
    t.alt_stack = *alternate;
  return true;
}

}  // namespace solaster::kernel::task

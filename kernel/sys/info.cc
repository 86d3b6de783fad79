// Who and where: identities, limits, the system's name, randomness.
// Spec: uname(2), sysinfo(2), getrlimit(2), getrandom(2), credentials(7).

#include <cstring>

#include "kernel/abi/task.hh"
#include "kernel/fs/fd_table.hh"
#include "kernel/lib/entropy.hh"
#include "kernel/lib/version.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/frames.hh"
#include "kernel/sys/call.hh"

namespace solaster::kernel::sys {

namespace {

constexpr usize random_piece = 256;

}  // namespace

answer sys_uname(call& c) {
  abi::utsname u = {};
  auto put = [](char* to, std::string_view s) { std::memcpy(to, s.data(), s.size()); };
  put(u.sysname, system_name);
  put(u.nodename, "solaster");
  put(u.release, system_release);
  put(u.version, system_version);
  put(u.machine, "x86_64");
  put(u.domainname, "(none)");
  TRY(write_struct(c.u(0), u));
  return 0;
}

answer sys_sysinfo(call& c) {
  abi::sysinfo s = {};
  s.uptime = i64(now_ns() / abi::ns_per_s);
  s.totalram = mm::total_bytes();
  s.freeram = mm::free_bytes();
  s.procs = u16(task::the_process().thread_count);
  s.mem_unit = 1;
  TRY(write_struct(c.u(0), s));
  return 0;
}

answer sys_getpid(call&) {
  return task::process_id;
}
answer sys_getppid(call&) {
  return 0;
}
answer sys_gettid(call&) {
  return task::current_task().tid;
}
answer sys_getuid(call&) {
  return 0;
}
answer sys_geteuid(call&) {
  return 0;
}
answer sys_getgid(call&) {
  return 0;
}
answer sys_getegid(call&) {
  return 0;
}
answer sys_getpgrp(call&) {
  return task::process_id;
}
answer sys_getpgid(call& c) {
  return c.i(0) == 0 || c.i(0) == task::process_id ? answer(task::process_id) : answer(errc::srch);
}
answer sys_getsid(call& c) {
  return sys_getpgid(c);
}
answer sys_setpgid(call& c) {
  return c.i(0) == 0 || c.i(0) == task::process_id ? answer(0) : answer(errc::srch);
}
answer sys_setsid(call&) {
  return errc::perm;
}  // it leads its process group already
answer sys_getgroups(call& c) {
  return c.i(0) < 0 ? answer(errc::inval) : answer(0);
}

answer sys_getresuid(call& c) {
  for (int i = 0; i < 3; i++)
    TRY(write_struct(c.u(i), u32{0}));
  return 0;
}
answer sys_getresgid(call& c) {
  return sys_getresuid(c);
}

answer sys_getrandom(call& c) {
  u64 flags = c.u(2);
  if (flags & ~u64{abi::grnd_nonblock | abi::grnd_random | abi::grnd_insecure})
    return errc::inval;
  if ((flags & abi::grnd_random) && (flags & abi::grnd_insecure))
    return errc::inval;
  u64 length = c.u(1) < 0x1ffffff ? c.u(1) : 0x1ffffff;
  if (!mm::is_program_range(c.u(0), length))
    return errc::fault;
  u8 piece[random_piece];
  for (u64 done = 0; done < length;) {
    usize n = length - done < sizeof piece ? length - done : sizeof piece;
    random_bytes(piece, n);
    if (!mm::copy_out(c.p<u8>(0) + done, piece, n))
      return done ? answer(i64(done)) : answer(errc::fault);
    done += n;
  }
  return i64(length);
}

}  // namespace solaster::kernel::sys

// /proc: the process and its threads.

#include "kernel/fs/path.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/page_source.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/task/process.hh"
#include "kernel/task/procfs.hh"

namespace solaster::kernel::fs {

namespace {

task::process& p() {
  return task::the_process();
}

// Copies a range of the program's memory: its arguments, its environment.
void put_program_memory(text& out, uptr from, uptr to) {
  char piece[256];
  while (from < to) {
    usize n = to - from < sizeof piece ? to - from : sizeof piece;
    if (!mm::copy_in(piece, mm::program_pointer<const void>(from), n))
      return;
    out << std::string_view(piece, n);
    from += n;
  }
}

std::string_view program_name() {
  std::string_view path(p().executable_path);
  path.remove_prefix(path.rfind('/') + 1);
  return path.substr(0, 15);
}

void put_maps(text& out, u64) {
  mm::area_info a;
  for (uptr at = 0; mm::find_area(at, a); at = a.end) {
    usize start = out.view().size();
    out.hex(a.start, 8) << '-';
    out.hex(a.end, 8) << ' ' << (a.prot & mm::prot_read ? 'r' : '-') << (a.prot & mm::prot_write ? 'w' : '-')
                      << (a.prot & mm::prot_exec ? 'x' : '-') << (a.shared ? 's' : 'p') << ' ';
    out.hex(a.file_offset, 8) << " 00:00 0 ";
    if (a.source || a.name) {
      while (out.view().size() - start < 73)
        out << ' ';
      if (a.source)
        a.source->put_name(out);
      else
        out << std::string_view(a.name);
    }
    out << '\n';
  }
}

// A thread's name and state by id; id 0: the process.
struct thread_facts {
  int tid;
  char name[16] = {};
  bool found = false;
  bool runs = false;
  u64 cpu_ns = 0;
  u32 cpu = 0;
};

thread_facts look_up_thread(int tid) {
  thread_facts f{tid};
  lock_guard guard(p().signal_lock);
  for (auto* t = p().threads; t; t = t->next) {
    if (t->tid != tid)
      continue;
    f.found = true;
    for (int i = 0; i < 15; i++)
      f.name[i] = t->who->name[i];
    f.runs = t->who->state.load() != thread_state::parked;
    f.cpu_ns = sched::cpu_time_ns(t->who);
    f.cpu = t->who->cpu;
  }
  return f;
}

// Fields of /proc/PID/stat behind the name and the state, by their numbers in proc(5). Those left out are 0.
enum stat_field {
  f_ppid = 4,
  f_pgrp,
  f_session,
  f_tty,
  f_tpgid,
  f_flags,
  f_utime = 14,
  f_priority = 18,
  f_threads = 20,
  f_start_time = 22,
  f_vsize,
  f_rss,
  f_rss_limit,
  f_start_code,
  f_end_code,
  f_start_stack,
  f_exit_signal = 38,
  f_processor,
  f_start_data = 45,
  f_end_data,
  f_start_brk,
  f_arguments_start,
  f_arguments_end,
  f_environment_start,
  f_environment_end,
  f_exit_code,
  stat_fields
};

void put_stat_line(text& out, u64 tid) {
  auto f = look_up_thread(tid ? int(tid) : task::process_id);
  u64 v[stat_fields] = {};
  v[f_pgrp] = v[f_session] = v[f_tpgid] = task::process_id;
  v[f_tty] = make_dev(5, 1);
  v[f_utime] = (tid ? f.cpu_ns : task::process_cpu_ns()) / clock_tick_ns;
  v[f_priority] = 20;
  v[f_threads] = u64(p().thread_count);
  v[f_start_time] = p().started_ns / clock_tick_ns;
  v[f_vsize] = mm::mapped_bytes();
  v[f_rss] = mm::resident_bytes() / page_size;
  v[f_rss_limit] = ~u64{0};
  v[f_start_code] = v[f_end_code] = 1;  // as Linux shows them to those who may not know
  v[f_start_stack] = p().stack_high;
  v[f_exit_signal] = abi::sig_chld;
  v[f_processor] = f.cpu;
  v[f_arguments_start] = p().arguments_start;
  v[f_arguments_end] = p().arguments_end;
  v[f_environment_start] = p().environment_start;
  v[f_environment_end] = p().environment_end;
  out.dec(u64(f.tid)) << " (" << (f.found ? std::string_view(f.name) : program_name()) << ") " << (f.runs ? 'R' : 'S');
  for (int i = f_ppid; i < stat_fields; i++)
    (out << ' ').dec(v[i]);
  out << '\n';
}

void put_status(text& out, u64 argument) {
  auto f = look_up_thread(argument ? int(argument) : task::process_id);
  out << "Name:\t" << (f.found ? std::string_view(f.name) : program_name()) << "\nUmask:\t";
  out.oct(p().umask, 4);
  out << "\nState:\t" << (f.runs ? "R (running)" : "S (sleeping)") << "\nTgid:\t1\nNgid:\t0\nPid:\t";
  out.dec(u64(f.tid))
      << "\nPPid:\t0\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t256\nGroups:\t\nVmPeak:\t";
  out.dec(mm::mapped_bytes() / 1024, 8) << " kB\nVmSize:\t";
  out.dec(mm::mapped_bytes() / 1024, 8) << " kB\nVmLck:\t";
  out.dec(mm::locked_bytes() / 1024, 8) << " kB\nVmHWM:\t";
  out.dec(mm::resident_bytes() / 1024, 8) << " kB\nVmRSS:\t";
  out.dec(mm::resident_bytes() / 1024, 8) << " kB\nVmData:\t       0 kB\nVmStk:\t";
  out.dec(task::main_stack_bytes / 1024, 8) << " kB\nVmSwap:\t       0 kB\nThreads:\t";
  out.dec(u64(p().thread_count)) << "\nSeccomp:\t0\nCpus_allowed:\t";
  u64 cpus = sched::cpu_count() >= 64 ? ~u64{0} : (u64{1} << sched::cpu_count()) - 1;
  out.hex(cpus) << "\nCpus_allowed_list:\t0";
  if (sched::cpu_count() > 1)
    (out << '-').dec(sched::cpu_count() - 1);
  out << "\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n";
}

void put_statm(text& out, u64) {
  out.dec(mm::mapped_bytes() / page_size) << ' ';
  out.dec(mm::resident_bytes() / page_size) << " 0 0 0 0 0\n";
}

void put_limit(text& out, std::string_view name, u64 value, std::string_view unit) {
  auto padded = [&](std::string_view s, usize width) {
    out << s;
    for (usize i = s.size(); i < width; i++)
      out << ' ';
  };
  text number;
  number.dec(value);
  padded(name, 26);
  padded(number.view(), 21);
  padded(number.view(), 21);
  padded(unit, 10);
  out << '\n';
}

void put_limits(text& out, u64) {
  out << "Limit                     Soft Limit           Hard Limit           Units     \n";
  put_limit(out, "Max stack size", task::main_stack_bytes, "bytes");
  put_limit(out, "Max open files", descriptors_max, "files");
}

void put_comm(text& out, u64 tid) {
  out << std::string_view(look_up_thread(tid ? int(tid) : task::process_id).name) << '\n';
}

void put_auxv(text& out, u64) {
  // SAFETY: bytes of an array of plain structures.
  out << std::string_view(reinterpret_cast<const char*>(p().auxv), p().auxv_count * sizeof(abi::auxv_entry));
}

void put_mounts(text& out, u64) {
  for (auto* m : {&root_filesystem, &dev_filesystem, &proc_filesystem, &sys_filesystem})
    out << m->type << ' ' << m->where << ' ' << m->type << " rw 0 0\n";
}

void put_cwd(text& out, u64) {
  (void)put_path(*p().cwd.get(), out);
}

constexpr generated_entry thread_lines[] = {
    {"stat", put_stat_line}, {"status", put_status}, {"comm", put_comm, 0644}, {"maps", put_maps}, {"statm", put_statm},
};

constexpr generated_entry process_lines[] = {
    {"exe", [](text& out, u64) { out << std::string_view(p().executable_path); }, 0777, true,
     [](u64) -> result<ref<node>> { return p().executable; }},
    {"cwd", put_cwd, 0777, true, [](u64) -> result<ref<node>> { return p().cwd.get(); }},
    {"root", [](text& out, u64) { out << '/'; }, 0777, true, [](u64) -> result<ref<node>> { return root(); }},
    {"auxv", put_auxv, 0400},
    {"cmdline", [](text& out, u64) { put_program_memory(out, p().arguments_start, p().arguments_end); }},
    {"environ", [](text& out, u64) { put_program_memory(out, p().environment_start, p().environment_end); }, 0400},
    {"limits", put_limits},
    {"mounts", put_mounts},
    {"cgroup", [](text& out, u64) { out << "0::/\n"; }},
    {"oom_score_adj", [](text& out, u64) { out << "0\n"; }, 0644},
};

}  // namespace

std::span<const generated_entry> thread_files() {
  return thread_lines;
}
std::span<const generated_entry> process_files() {
  return process_lines;
}

bool has_thread(int tid) {
  return look_up_thread(tid).found;
}

int next_thread(int after) {
  int found = 0;
  lock_guard guard(p().signal_lock);
  for (auto* t = p().threads; t; t = t->next)
    if (t->tid > after && (!found || t->tid < found))
      found = t->tid;
  return found;
}

void put_descriptor(text& out, u64 fd) {
  auto f = p().files.get(int(fd));
  if (!f)
    return;
  if (auto* n = (*f)->of())
    (void)put_path(*n, out);
  else
    out << (*f)->kind();
}

result<ref<node>> follow_descriptor(u64 fd) {
  auto f = TRY(p().files.get(int(fd)));
  if (!f->of())
    return errc::nxio;  // pipes and events cannot be opened again
  return ref<node>(f->of());
}

}  // namespace solaster::kernel::fs

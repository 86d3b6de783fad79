// /proc: what glibc, the framework and ordinary servers read of it.
// Spec: proc(5); field order of stat and status as Linux fs/proc/array.c.

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/firmware/boot_info.hh"
#include "kernel/fs/generated.hh"
#include "kernel/fs/path.hh"
#include "kernel/fs/ramfs.hh"
#include "kernel/lib/entropy.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/frames.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/task/process.hh"

namespace solaster::kernel::fs {

namespace {

constexpr u64 tick_ns = 10'000'000;
constexpr u64 second_ns = 1'000'000'000;

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
    if (a.name) {
      while (out.view().size() - start < 73)
        out << ' ';
      out << std::string_view(a.name);
    }
    out << '\n';
    if (a.end <= at)
      return;
  }
}

u64 process_cpu_ns() {
  u64 total = 0;
  sched::for_each_thread(
      [](thread* t, void* sum) {
        if (t->task)
          *static_cast<u64*>(sum) += sched::cpu_time_ns(t);
      },
      &total);
  return total;
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

void put_stat_line(text& out, u64 argument) {
  bool is_process = argument == 0;
  auto f = look_up_thread(is_process ? task::process_id : int(argument));
  u64 cpu_ns = is_process ? process_cpu_ns() : f.cpu_ns;
  out.dec(u64(f.tid)) << " (" << (f.found ? std::string_view(f.name) : program_name()) << ") " << (f.runs ? 'R' : 'S')
                      << " 0 1 1 1281 1 4194304 0 0 0 0 ";
  out.dec(cpu_ns / tick_ns) << " 0 0 0 20 0 ";
  out.dec(u64(p().thread_count)) << " 0 ";
  out.dec(p().started_ns / tick_ns) << ' ';
  out.dec(mm::mapped_bytes()) << ' ';
  out.dec(mm::resident_bytes() / page_size) << " 18446744073709551615 1 1 ";
  out.dec(p().stack_high);
  out << " 0 0 0 0 0 0 0 0 0 17 ";
  out.dec(f.cpu) << " 0 0 0 0 0 0 0 0 ";
  out.dec(p().arguments_start) << ' ';
  out.dec(p().arguments_end) << ' ';
  out.dec(p().environment_start) << ' ';
  out.dec(p().environment_end) << " 0\n";
}

void put_status(text& out, u64 argument) {
  auto f = look_up_thread(argument ? int(argument) : task::process_id);
  out << "Name:\t" << (f.found ? std::string_view(f.name) : program_name()) << "\nUmask:\t";
  out.oct(p().umask, 4);
  out << "\nState:\t" << (f.runs ? "R (running)" : "S (sleeping)") << "\nTgid:\t1\nNgid:\t0\nPid:\t";
  out.dec(u64(f.tid))
      << "\nPPid:\t0\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t256\nGroups:\t\nVmPeak:\t";
  out.dec(mm::mapped_bytes() / 1024, 8) << " kB\nVmSize:\t";
  out.dec(mm::mapped_bytes() / 1024, 8) << " kB\nVmLck:\t       0 kB\nVmHWM:\t";
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

void put_cpuinfo(text& out, u64) {
  auto vendor = cpuid(0), version = cpuid(1);
  char vendor_name[13] = {};
  __builtin_memcpy(vendor_name, &vendor.ebx, 4);
  __builtin_memcpy(vendor_name + 4, &vendor.edx, 4);
  __builtin_memcpy(vendor_name + 8, &vendor.ecx, 4);
  char brand[49] = "unknown";
  if (cpuid(0x80000000).eax >= 0x80000004)
    for (u32 i = 0; i < 3; i++) {
      auto part = cpuid(0x80000002 + i);
      __builtin_memcpy(brand + i * 16, &part, 16);
    }
  u32 family = version.eax >> 8 & 15, model = version.eax >> 4 & 15;
  if (family == 15 || family == 6)
    model |= version.eax >> 12 & 0xf0;
  if (family == 15)
    family += version.eax >> 20 & 255;
  static constexpr std::string_view edx_flags[32] = {
      "fpu", "vme",  "de",  "pse",   "tsc", "msr",     "pae", "mce", "cx8", "apic", "",     "sep", "mtrr", "pge",
      "mca", "cmov", "pat", "pse36", "",    "clflush", "",    "",    "",    "mmx",  "fxsr", "sse", "sse2"};
  for (unsigned i = 0; i < sched::cpu_count(); i++) {
    out << "processor\t: ";
    out.dec(i) << "\nvendor_id\t: " << std::string_view(vendor_name) << "\ncpu family\t: ";
    out.dec(family) << "\nmodel\t\t: ";
    out.dec(model) << "\nmodel name\t: " << std::string_view(brand) << "\nstepping\t: ";
    out.dec(version.eax & 15) << "\ncpu MHz\t\t: ";
    out.dec(tsc_hz() / 1'000'000) << ".000\nphysical id\t: 0\nsiblings\t: ";
    out.dec(sched::cpu_count()) << "\ncore id\t\t: ";
    out.dec(i) << "\ncpu cores\t: ";
    out.dec(sched::cpu_count()) << "\nflags\t\t:";
    for (int b = 0; b < 32; b++)
      if ((version.edx >> b & 1) && !edx_flags[b].empty())
        out << ' ' << edx_flags[b];
    out << "\ncache_alignment\t: 64\naddress sizes\t: 48 bits physical, 48 bits virtual\n\n";
  }
}

void put_meminfo(text& out, u64) {
  auto line = [&](std::string_view name, u64 bytes) {
    usize start = out.view().size();
    out << name << ':';
    while (out.view().size() - start < 16)
      out << ' ';
    out.dec(bytes / 1024, 8) << " kB\n";
  };
  line("MemTotal", mm::total_bytes());
  line("MemFree", mm::free_bytes());
  line("MemAvailable", mm::free_bytes());
  for (auto name : {"Buffers", "Cached", "SwapCached", "Active", "Inactive", "SwapTotal", "SwapFree", "Dirty",
                    "Writeback", "AnonPages", "Mapped", "Shmem"})
    line(name, 0);
  out << "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n";
}

void put_stat(text& out, u64) {
  auto line = [&](u64 total_ns, u64 idle_ns) {
    out.dec((total_ns > idle_ns ? total_ns - idle_ns : 0) / tick_ns) << " 0 0 ";
    out.dec(idle_ns / tick_ns) << " 0 0 0 0 0 0\n";
  };
  u64 now = now_ns(), idle = 0;
  unsigned cpus = sched::cpu_count();
  for (unsigned i = 0; i < cpus; i++)
    idle += sched::idle_ns(i);
  out << "cpu  ";
  line(now * cpus, idle);
  for (unsigned i = 0; i < cpus; i++) {
    (out << "cpu").dec(i) << ' ';
    line(now, sched::idle_ns(i));
  }
  out << "intr ";
  out.dec(sched::interrupt_count()) << "\nctxt ";
  out.dec(sched::context_switch_count()) << "\nbtime ";
  out.dec(u64(realtime_ns() - i64(now)) / second_ns) << "\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n";
}

void put_uptime(text& out, u64) {
  u64 now = now_ns(), idle = 0;
  for (unsigned i = 0; i < sched::cpu_count(); i++)
    idle += sched::idle_ns(i);
  for (u64 ns : {now, idle}) {
    out.dec(ns / second_ns) << '.';
    out.dec(ns % second_ns / tick_ns, 2, '0') << (ns == now ? ' ' : '\n');
  }
}

void put_uuid(text& out, u64 fixed) {
  static u64 boot_id[2];
  if (fixed && !boot_id[0])
    random_bytes(boot_id, sizeof boot_id);
  u64 v[2] = {boot_id[0], boot_id[1]};
  if (!fixed)
    random_bytes(v, sizeof v);
  out.hex(v[0] >> 32, 8) << '-';
  out.hex(v[0] >> 16 & 0xffff, 4) << "-4";
  out.hex(v[0] & 0xfff, 3) << '-';
  out.hex((v[1] >> 48 & 0x3fff) | 0x8000, 4) << '-';
  out.hex(v[1] & 0xffffffffffff, 12) << '\n';
}

void put_limits(text& out, u64) {
  out << "Limit                     Soft Limit           Hard Limit           Units     \n"
         "Max stack size            8388608              8388608              bytes     \n"
         "Max open files            1024                 1024                 files     \n";
}

// Small texts that never change.
template <const auto& Text>
void put_text(text& out, u64) {
  out << std::string_view(Text);
}
constexpr char mounts_text[] =
    "rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0\nsysfs /sys sysfs rw 0 0\ndevtmpfs /dev devtmpfs rw 0 0\n";
constexpr char cgroup_text[] = "0::/\n";
constexpr char zero_text[] = "0\n";
constexpr char version_text[] = "Linux version 6.1.0-solaster (solaster) #1 Solaster\n";
constexpr char release_text[] = "6.1.0-solaster\n";
constexpr char name_text[] = "solaster\n";
constexpr char type_text[] = "Linux\n";
constexpr char build_text[] = "#1 Solaster\n";
constexpr char pid_max_text[] = "32768\n";
constexpr char map_count_text[] = "65530\n";
constexpr char load_text[] = "0.00 0.00 0.00 1/1 1\n";
constexpr char somaxconn_text[] = "4096\n";
constexpr char file_max_text[] = "1024\n";

// /proc/self/fd: links made on the way.
void put_fd_target(text& out, u64 fd) {
  auto f = p().files.get(int(fd));
  if (!f)
    return;
  if (!(*f)->of()) {
    out << (*f)->kind();
    return;
  }
  node* n = (*f)->of();
  if (n->type() == node_type::character) {
    abi::stat st;
    n->fill_stat(st);
    u64 minor = st.rdev & 255;
    out << (st.rdev >> 8 == 5 ? "/dev/console"
            : minor == 3      ? "/dev/null"
            : minor == 5      ? "/dev/zero"
            : minor == 7      ? "/dev/full"
            : minor == 8      ? "/dev/random"
                              : "/dev/urandom");
    return;
  }
  // The tree is locked by the lookup: walk up without path_of.
  std::string_view parts[32];
  usize count = 0;
  for (; n != root().get() && n && count < 32; n = n->parent())
    parts[count++] = n->name();
  if (count == 0)
    out << '/';
  while (count)
    out << '/' << parts[--count];
}

int parse_number(std::string_view s) {
  int value = 0;
  if (s.empty() || s.size() > 8)
    return -1;
  for (char c : s) {
    if (c < '0' || c > '9')
      return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

class fd_directory : public ram_directory {
 public:
  fd_directory() : ram_directory(0500) {}
  result<ref<node>> find_child(std::string_view name) override {
    int fd = parse_number(name);
    if (fd < 0 || !p().files.get(fd))
      return errc::noent;
    auto link = make_generated_link(put_fd_target, u64(fd));
    if (!link)
      return errc::nomem;
    return link;
  }
  result<directory_entry> child_at(size_t index) override {
    int fd = -1;
    for (size_t i = 0; i <= index; i++)
      if ((fd = p().files.lowest_open(fd + 1)) < 0)
        return errc::noent;
    text number;
    number.dec(u64(fd));
    for (size_t i = 0; i < number.view().size() && i < sizeof _name; i++)
      _name[i] = number.view()[i];
    return directory_entry{{_name, number.view().size()}, 1000 + u64(fd), node_type::symlink};
  }

 private:
  char _name[16];  // under the tree's mutex
};

void put_comm(text& out, u64 tid) {
  out << std::string_view(look_up_thread(tid ? int(tid) : 1).name) << '\n';
}

void populate_process(node& of, u64 tid) {
  must_add(of, "stat", make_generated(put_stat_line, tid));
  must_add(of, "status", make_generated(put_status, tid));
  must_add(of, "comm", make_generated(put_comm, tid, 0644));
  must_add(of, "maps", make_generated(put_maps));
  must_add(of, "statm", make_generated(put_statm));
}

class task_directory : public ram_directory {
 public:
  task_directory() : ram_directory(0555) {}
  result<ref<node>> find_child(std::string_view name) override {
    int tid = parse_number(name);
    if (tid <= 0 || !look_up_thread(tid).found)
      return errc::noent;
    ref<node> made = make_ref<ram_directory>(0555);
    if (!made)
      return errc::nomem;
    populate_process(*made, u64(tid));
    made->set_parent(this);
    made->set_name(name);
    return made;
  }
  result<directory_entry> child_at(size_t index) override {
    int tid = 0;
    {
      lock_guard guard(p().signal_lock);
      // The list runs from the newest to the oldest.
      usize skip = p().thread_count > int(index) ? usize(p().thread_count) - 1 - index : ~usize{0};
      auto* t = p().threads;
      while (t && skip--)
        t = t->next;
      if (t && index < usize(p().thread_count))
        tid = t->tid;
    }
    if (!tid)
      return errc::noent;
    text number;
    number.dec(u64(tid));
    for (size_t i = 0; i < number.view().size() && i < sizeof _name; i++)
      _name[i] = number.view()[i];
    return directory_entry{{_name, number.view().size()}, 5000 + u64(tid), node_type::directory};
  }

 private:
  char _name[16];
};

void populate_self(node& self) {
  populate_process(self, 0);
  must_add(self, "exe", make_generated_link([](text& out, u64) { out << std::string_view(p().executable_path); }));
  must_add(self, "cwd", make_generated_link([](text& out, u64) { out << '/'; }));
  must_add(self, "root", make_generated_link([](text& out, u64) { out << '/'; }));
  must_add(self, "auxv", make_generated([](text& out, u64) {
             // SAFETY: bytes of an array of plain structures.
             out << std::string_view(reinterpret_cast<const char*>(p().auxv), p().auxv_count * sizeof(abi::auxv_entry));
           }));
  must_add(self, "cmdline",
           make_generated([](text& out, u64) { put_program_memory(out, p().arguments_start, p().arguments_end); }));
  must_add(self, "environ",
           make_generated([](text& out, u64) { put_program_memory(out, p().environment_start, p().environment_end); }));
  must_add(self, "limits", make_generated(put_limits));
  must_add(self, "mounts", make_generated(put_text<mounts_text>));
  must_add(self, "cgroup", make_generated(put_text<cgroup_text>));
  must_add(self, "oom_score_adj", make_generated(put_text<zero_text>, 0, 0644));
  must_add(self, "fd", make_ref<fd_directory>());
  must_add(self, "task", make_ref<task_directory>());
}

void populate_settings(node& proc) {
  auto settings = must_make_directory(proc, "sys");
  auto kernel = must_make_directory(*settings, "kernel");
  must_add(*kernel, "osrelease", make_generated(put_text<release_text>));
  must_add(*kernel, "hostname", make_generated(put_text<name_text>));
  must_add(*kernel, "ostype", make_generated(put_text<type_text>));
  must_add(*kernel, "version", make_generated(put_text<build_text>));
  must_add(*kernel, "pid_max", make_generated(put_text<pid_max_text>));
  must_add(*kernel, "threads-max", make_generated(put_text<pid_max_text>));
  auto random = must_make_directory(*kernel, "random");
  must_add(*random, "uuid", make_generated(put_uuid, 0));
  must_add(*random, "boot_id", make_generated(put_uuid, 1));
  auto vm = must_make_directory(*settings, "vm");
  must_add(*vm, "overcommit_memory", make_generated(put_text<zero_text>));
  must_add(*vm, "max_map_count", make_generated(put_text<map_count_text>));
  must_add(*must_make_directory(*must_make_directory(*settings, "net"), "core"), "somaxconn",
           make_generated(put_text<somaxconn_text>));
  must_add(*must_make_directory(*settings, "fs"), "file-max", make_generated(put_text<file_max_text>));
}

}  // namespace

void populate_proc(node& root) {
  auto proc = must_make_directory(root, "proc");
  must_add(*proc, "self", make_generated_link([](text& out, u64) { out << '1'; }));
  must_add(*proc, "thread-self",
           make_generated_link([](text& out, u64) { (out << "1/task/").dec(u64(task::current_task().tid)); }));
  populate_self(*must_make_directory(*proc, "1"));
  must_add(*proc, "cpuinfo", make_generated(put_cpuinfo));
  must_add(*proc, "meminfo", make_generated(put_meminfo));
  must_add(*proc, "stat", make_generated(put_stat));
  must_add(*proc, "uptime", make_generated(put_uptime));
  must_add(*proc, "loadavg", make_generated(put_text<load_text>));
  must_add(*proc, "version", make_generated(put_text<version_text>));
  must_add(*proc, "mounts", make_generated_link([](text& out, u64) { out << "self/mounts"; }));
  must_add(*proc, "cmdline", make_generated([](text& out, u64) { out << boot_info().command_line << '\n'; }));
  populate_settings(*proc);
}

}  // namespace solaster::kernel::fs

// /proc: the machine, and the settings of a Linux kernel that programs look at.

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/firmware/boot_info.hh"
#include "kernel/fs/fd_table.hh"
#include "kernel/lib/entropy.hh"
#include "kernel/lib/version.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/frames.hh"
#include "kernel/sched/clock.hh"
#include "kernel/sched/thread.hh"
#include "kernel/sync/spinlock.hh"
#include "kernel/task/procfs.hh"

namespace solaster::kernel::fs {

namespace {

constexpr u64 second_ns = 1'000'000'000;

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
    out.dec((total_ns > idle_ns ? total_ns - idle_ns : 0) / clock_tick_ns) << " 0 0 ";
    out.dec(idle_ns / clock_tick_ns) << " 0 0 0 0 0 0\n";
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
  auto seconds = [&](u64 ns, char end) {
    out.dec(ns / second_ns) << '.';
    out.dec(ns % second_ns / clock_tick_ns, 2, '0') << end;
  };
  seconds(now, ' ');
  seconds(idle, '\n');
}

struct uuid_bits {
  u64 high = 0, low = 0;
};
guarded<uuid_bits, rank::object> boot_id;

void put_uuid(text& out, u64 is_boot_id) {
  u64 v[2];
  random_bytes(v, sizeof v);
  if (is_boot_id) {
    auto kept = boot_id.lock();
    if (!kept->high)
      *kept = {v[0] | 1, v[1]};  // made by the first who asks
    v[0] = kept->high, v[1] = kept->low;
  }
  out.hex(v[0] >> 32, 8) << '-';
  out.hex(v[0] >> 16 & 0xffff, 4) << "-4";
  out.hex(v[0] & 0xfff, 3) << '-';
  out.hex((v[1] >> 48 & 0x3fff) | 0x8000, 4) << '-';
  out.hex(v[1] & 0xffffffffffff, 12) << '\n';
}

// Small texts that never change.
template <const auto& Text>
void put_text(text& out, u64) {
  out << std::string_view(Text) << '\n';
}
constexpr char zero_text[] = "0";
constexpr char name_text[] = "solaster";
constexpr char load_text[] = "0.00 0.00 0.00 1/1 1";
template <u64 Number>
void put_constant(text& out, u64) {
  out.dec(Number) << '\n';
}
constexpr u64 linux_pid_max = 32768, linux_somaxconn = 4096;

void put_version(text& out, u64) {
  out << system_name << " version " << system_release << " (solaster) " << system_version << '\n';
}

void populate_settings(ram_directory& proc) {
  auto settings = must_make_directory(proc, "sys");
  auto kernel = must_make_directory(*settings, "kernel");
  must_add(*kernel, "osrelease", make_generated(put_text<system_release>));
  must_add(*kernel, "hostname", make_generated(put_text<name_text>));
  must_add(*kernel, "ostype", make_generated(put_text<system_name>));
  must_add(*kernel, "version", make_generated(put_text<system_version>));
  must_add(*kernel, "pid_max", make_generated(put_constant<linux_pid_max>));
  must_add(*kernel, "threads-max", make_generated(put_constant<linux_pid_max>));
  auto random = must_make_directory(*kernel, "random");
  must_add(*random, "uuid", make_generated(put_uuid, 0));
  must_add(*random, "boot_id", make_generated(put_uuid, 1));
  auto vm = must_make_directory(*settings, "vm");
  must_add(*vm, "overcommit_memory", make_generated(put_text<zero_text>));
  must_add(*vm, "max_map_count", make_generated(put_constant<mm::areas_max>));
  must_add(*must_make_directory(*must_make_directory(*settings, "net"), "core"), "somaxconn",
           make_generated(put_constant<linux_somaxconn>));
  must_add(*must_make_directory(*settings, "fs"), "file-max", make_generated(put_constant<u64{descriptors_max}>));
}

}  // namespace

void populate_machine(ram_directory& proc) {
  must_add(proc, "cpuinfo", make_generated(put_cpuinfo));
  must_add(proc, "meminfo", make_generated(put_meminfo));
  must_add(proc, "stat", make_generated(put_stat));
  must_add(proc, "uptime", make_generated(put_uptime));
  must_add(proc, "loadavg", make_generated(put_text<load_text>));
  must_add(proc, "version", make_generated(put_version));
  must_add(proc, "cmdline", make_generated([](text& out, u64) { out << boot_info().command_line << '\n'; }));
  populate_settings(proc);
}

}  // namespace solaster::kernel::fs

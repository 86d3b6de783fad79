// /sys: the processors and the one memory node, as glibc's get_nprocs and the framework read them.
// Spec: Linux Documentation/ABI/stable/sysfs-devices-system-cpu, sysfs-devices-node.

#include "kernel/fs/generated.hh"
#include "kernel/fs/path.hh"
#include "kernel/fs/ramfs.hh"
#include "kernel/mm/frames.hh"
#include "kernel/sched/thread.hh"

namespace solaster::kernel::fs {

namespace {

// CPUs that the firmware lists are on line or will be in a moment: programs count them all.
void put_cpu_range(text& out, u64) {
  out << '0';
  if (sched::cpu_count() > 1)
    (out << '-').dec(sched::cpu_count() - 1);
  out << '\n';
}

void put_cpu_mask(text& out, u64) {
  u64 mask = sched::cpu_count() >= 64 ? ~u64{0} : (u64{1} << sched::cpu_count()) - 1;
  if (mask >> 32)
    out.hex(mask >> 32, 8) << ',';
  out.hex(mask & 0xffffffff, mask >> 32 ? 8 : 1) << '\n';
}

void put_one_cpu_list(text& out, u64 cpu) {
  out.dec(cpu) << '\n';
}
void put_one_cpu_mask(text& out, u64 cpu) {
  out.hex(u64{1} << cpu) << '\n';
}
void put_zero(text& out, u64) {
  out << "0\n";
}
void put_one(text& out, u64) {
  out << "1\n";
}

void put_node_meminfo(text& out, u64) {
  out << "Node 0 MemTotal:       ";
  out.dec(mm::total_bytes() / 1024, 8) << " kB\nNode 0 MemFree:        ";
  out.dec(mm::free_bytes() / 1024, 8) << " kB\n";
}

void add_cpu(ram_directory& cpus, unsigned i) {
  text name;
  (name << "cpu").dec(i);
  auto cpu = must_make_directory(cpus, name.view());
  must_add(*cpu, "online", make_generated(put_one));
  auto topology = must_make_directory(*cpu, "topology");
  must_add(*topology, "core_id", make_generated(put_one_cpu_list, i));
  must_add(*topology, "physical_package_id", make_generated(put_zero));
  must_add(*topology, "thread_siblings_list", make_generated(put_one_cpu_list, i));
  must_add(*topology, "thread_siblings", make_generated(put_one_cpu_mask, i));
  must_add(*topology, "core_siblings_list", make_generated(put_cpu_range));
}

}  // namespace

void populate_sys(ram_directory& root) {
  auto sys = must_make_directory(root, "sys");
  sys->be_root(sys_filesystem);
  auto system = must_make_directory(*must_make_directory(*sys, "devices"), "system");
  auto cpus = must_make_directory(*system, "cpu");
  for (unsigned i = 0; i < sched::cpu_count(); i++)
    add_cpu(*cpus, i);
  for (auto name : {"online", "possible", "present"})
    must_add(*cpus, name, make_generated(put_cpu_range));
  auto nodes = must_make_directory(*system, "node");
  for (auto name : {"online", "possible", "has_memory", "has_cpu"})
    must_add(*nodes, name, make_generated(put_zero));
  auto first = must_make_directory(*nodes, "node0");
  must_add(*first, "cpulist", make_generated(put_cpu_range));
  must_add(*first, "cpumap", make_generated(put_cpu_mask));
  must_add(*first, "meminfo", make_generated(put_node_meminfo));
  must_add(*first, "distance", make_generated([](text& out, u64) { out << "10\n"; }));
}

}  // namespace solaster::kernel::fs

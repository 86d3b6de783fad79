// The texts of /proc, by what they are about. Private to kernel/task.
// Spec: proc(5); field order of stat and status as Linux fs/proc/array.c.
#pragma once

#include <span>

#include "kernel/fs/generated.hh"

namespace solaster::kernel::fs {

inline constexpr u64 clock_tick_ns = 10'000'000;  // USER_HZ is 100

// proc_process.cc: what is the same in /proc/1 and in /proc/1/task/N. The argument is a thread's id; 0: the process.
std::span<const generated_entry> thread_files();
// What only the process has.
std::span<const generated_entry> process_files();
bool has_thread(int tid);
// The smallest thread id above `after`; 0: none.
int next_thread(int after);
// /proc/self/fd/N: the argument is the descriptor.
void put_descriptor(text& out, u64 fd);
result<ref<node>> follow_descriptor(u64 fd);

// proc_machine.cc
void populate_machine(ram_directory& proc);

}  // namespace solaster::kernel::fs

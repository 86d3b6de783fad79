// /proc: its directories. There is one process, so /proc/1 is /proc/self; what comes and goes (threads, descriptors) is
// looked up each time.

#include "kernel/task/procfs.hh"
#include "kernel/fs/path.hh"
#include "kernel/task/process.hh"

namespace solaster::kernel::fs {

namespace {

task::process& p() {
  return task::the_process();
}

// /proc/1/fd
class descriptors_directory : public virtual_directory {
 public:
  explicit descriptors_directory(u64 ino) : virtual_directory(0500, ino) {}
  result<ref<node>> find_child(std::string_view name) override {
    int fd = parse_number(name);
    if (fd < 0 || !p().files.get(fd))
      return errc::noent;
    return placed(name, make_generated_link(put_descriptor, u64(fd), follow_descriptor, child_ino(u64(fd))));
  }
  status next_child(u64 after, directory_entry& out) override {
    int fd = p().files.lowest_open(int(after - dots_cookie));
    if (fd < 0)
      return errc::noent;
    put_number(u64(fd), out);
    out.ino = child_ino(u64(fd)), out.type = node_type::symlink, out.cookie = u64(fd) + 1 + dots_cookie;
    return {};
  }
};

// /proc/1/task/N
class thread_directory : public virtual_directory {
 public:
  thread_directory(int tid, u64 ino) : virtual_directory(0555, ino), _tid(tid) {}
  result<ref<node>> find_child(std::string_view name) override {
    if (!has_thread(_tid))
      return errc::noent;
    return find_line(thread_files(), name, u64(_tid));
  }
  status next_child(u64 after, directory_entry& out) override { return next_line(thread_files(), after, out); }

 private:
  int _tid;
};

// /proc/1/task
class threads_directory : public virtual_directory {
 public:
  explicit threads_directory(u64 ino) : virtual_directory(0555, ino) {}
  result<ref<node>> find_child(std::string_view name) override {
    int tid = parse_number(name);
    if (tid <= 0 || !has_thread(tid))
      return errc::noent;
    return placed(name, make_ref<thread_directory>(tid, child_ino(u64(tid))));
  }
  status next_child(u64 after, directory_entry& out) override {
    int tid = next_thread(int(after - dots_cookie));
    if (!tid)
      return errc::noent;
    put_number(u64(tid), out);
    out.ino = child_ino(u64(tid)), out.type = node_type::directory, out.cookie = u64(tid) + dots_cookie;
    return {};
  }
};

// /proc/1
void populate_process(ram_directory& of) {
  for (auto lines : {thread_files(), process_files()})
    for (const auto& line : lines)
      must_add(of, line.name,
               line.is_link ? make_generated_link(line.generate, 0, line.lead)
                            : make_generated(line.generate, 0, line.permissions));
  must_add(of, "fd", make_ref<descriptors_directory>(next_ino()));
  must_add(of, "task", make_ref<threads_directory>(next_ino()));
}

}  // namespace

void populate_proc(ram_directory& root) {
  auto proc = must_make_directory(root, "proc");
  proc->be_root(proc_filesystem);
  must_add(*proc, "self", make_generated_link([](text& out, u64) { out.dec(task::process_id); }));
  must_add(*proc, "thread-self", make_generated_link([](text& out, u64) {
    (out.dec(task::process_id) << "/task/").dec(u64(task::current_task().tid));
  }));
  must_add(*proc, "mounts", make_generated_link([](text& out, u64) { out << "self/mounts"; }));
  text number;
  number.dec(task::process_id);
  populate_process(*must_make_directory(*proc, number.view()));
  populate_machine(*proc);
}

}  // namespace solaster::kernel::fs

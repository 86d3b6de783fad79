// Descriptors: reading, writing, positions, duplication, control.
// Spec: read(2), readv(2), lseek(2), dup(2), fcntl(2), ioctl(2), getdents64(2).

#include <cstring>

#include "kernel/fs/path.hh"
#include "kernel/fs/pipe.hh"
#include "kernel/sys/call.hh"

namespace solaster::kernel::sys {

namespace {

constexpr u64 transfer_max = 0x7ffff000;  // Linux's MAX_RW_COUNT

fs::fd_table& files() {
  return task::the_process().files;
}

enum class direction : u8 { in, out };

result<usize> transfer(fs::file& f, fs::io& memory, direction d, u64 offset) {
  return d == direction::in ? f.read(memory, offset) : f.write(memory, offset);
}

status check_access(fs::file& f, direction d) {
  if (d == direction::in ? !f.readable() : !f.can_write())
    return errc::badf;
  return {};
}

// One piece of memory at the file's position (`offset` -1) or at `offset`.
result<usize> transfer_at(fs::file& f, u64 address, u64 length, direction d, i64 offset) {
  if (length && !mm::is_program_range(address, length))
    return errc::fault;
  if (length > transfer_max)
    length = transfer_max;
  auto memory = fs::io::user(address, length);
  if (offset >= 0)
    return transfer(f, memory, d, u64(offset));
  if (!f.seekable())
    return transfer(f, memory, d, 0);
  mutex_guard guard(f.position_lock);
  auto moved = transfer(f, memory, d, f.position);
  if (!moved)
    return moved;
  f.position += *moved;
  if (d == direction::out && (f.flags() & abi::o_append))
    f.position = f.size();
  return moved;
}

answer one(call& c, direction d, i64 offset) {
  auto f = TRY(files().get(c.i(0)));
  TRY(check_access(*f, d));
  if (offset != -1 && !f->seekable())
    return errc::spipe;
  return i64(TRY(transfer_at(*f, c.u(1), c.u(2), d, offset)));
}

answer many(call& c, direction d, i64 offset) {
  auto f = TRY(files().get(c.i(0)));
  TRY(check_access(*f, d));
  if (offset != -1 && !f->seekable())
    return errc::spipe;
  if (c.i(2) < 0 || c.u(2) > abi::iov_max)
    return errc::inval;
  u64 total = 0;
  for (u64 i = 0; i < c.u(2); i++) {
    auto v = TRY(read_struct<abi::iovec>(c.u(1) + i * sizeof(abi::iovec)));
    if (i64(v.len) < 0)
      return errc::inval;
    if (v.len && !mm::is_program_range(v.base, v.len))
      return errc::fault;
  }
  for (u64 i = 0; i < c.u(2); i++) {
    auto v = TRY(read_struct<abi::iovec>(c.u(1) + i * sizeof(abi::iovec)));
    if (v.len == 0)
      continue;
    // A reader that has something does not wait for more.
    if (total && d == direction::in && !(f->poll() & abi::poll_in))
      break;
    auto moved = transfer_at(*f, v.base, v.len, d, offset == -1 ? -1 : offset + i64(total));
    if (!moved)
      return total ? answer(i64(total)) : answer(moved.error());
    total += *moved;
    if (*moved < v.len)
      break;
  }
  return i64(total);
}

answer positioned(call& c, direction d, answer (*how)(call&, direction, i64)) {
  if (i64(c.u(3)) < 0)
    return errc::inval;
  return how(c, d, i64(c.u(3)));
}

answer duplicate(int from, int to, u32 flags, bool same_is_error) {
  if (flags & ~abi::o_cloexec)
    return errc::inval;
  if (from == to && same_is_error)
    return errc::inval;
  auto f = TRY(files().get(from));
  if (from == to)
    return to;
  TRY(files().set(to, f, flags & abi::o_cloexec));
  return to;
}

}  // namespace

answer sys_read(call& c) {
  return one(c, direction::in, -1);
}
answer sys_write(call& c) {
  return one(c, direction::out, -1);
}
answer sys_readv(call& c) {
  return many(c, direction::in, -1);
}
answer sys_writev(call& c) {
  return many(c, direction::out, -1);
}
answer sys_pread64(call& c) {
  return positioned(c, direction::in, one);
}
answer sys_pwrite64(call& c) {
  return positioned(c, direction::out, one);
}

answer sys_close(call& c) {
  TRY(files().close(c.i(0)));
  return 0;
}

answer sys_close_range(call& c) {
  u32 first = u32(c.u(0)), last = u32(c.u(1)), flags = u32(c.u(2));
  if (first > last || (flags & ~(abi::close_range_unshare | abi::close_range_cloexec)))
    return errc::inval;
  // A table of the calling thread's own is not to be had; alone it has one.
  if ((flags & abi::close_range_unshare) && task::the_process().thread_count > 1)
    return errc::nosys;
  if (first >= u32(fs::descriptors_max))
    return 0;
  if (!(flags & abi::close_range_cloexec)) {
    files().close_range(first, last);
    return 0;
  }
  for (int fd = files().lowest_open(int(first)); fd >= 0 && u32(fd) <= last; fd = files().lowest_open(fd + 1))
    (void)files().set_close_on_exec(fd, true);
  return 0;
}

answer sys_lseek(call& c) {
  auto f = TRY(files().get(c.i(0)));
  if (f->flags() & abi::o_path)
    return errc::badf;
  if (!f->seekable())
    return errc::spipe;
  mutex_guard guard(f->position_lock);
  i64 base = 0;
  switch (c.i(2)) {
    case abi::seek_set:
      break;
    case abi::seek_cur:
      base = i64(f->position);
      break;
    case abi::seek_end:
      base = i64(f->size());
      break;
    default:
      return errc::inval;
  }
  i64 at;
  if (__builtin_add_overflow(base, i64(c.u(1)), &at))
    return errc::overflow;
  if (at < 0)
    return errc::inval;
  f->position = u64(at);
  return at;
}

answer sys_dup(call& c) {
  return TRY(files().add(TRY(files().get(c.i(0))), false));
}
answer sys_dup2(call& c) {
  return duplicate(c.i(0), c.i(1), 0, false);
}
answer sys_dup3(call& c) {
  return duplicate(c.i(0), c.i(1), u32(c.u(2)), true);
}

namespace {

// Record locks belong to the process, and there is one: they never conflict, so what is left is to say what is wrong
// with a request. Order of the checks: Linux fs/locks.c.
status check_record_lock(const fs::file& f, const abi::flock& l, bool is_query) {
  if (l.whence != abi::seek_set && l.whence != abi::seek_cur && l.whence != abi::seek_end)
    return errc::inval;
  i64 start = l.whence == abi::seek_cur ? i64(f.position) : l.whence == abi::seek_end ? i64(f.size()) : 0;
  i64 end;
  if (__builtin_add_overflow(start, l.start, &start))
    return errc::overflow;
  if (start < 0)
    return errc::inval;
  if (__builtin_add_overflow(start, l.len > 0 ? l.len - 1 : l.len, &end))
    return errc::overflow;
  if (end < 0)
    return errc::inval;
  if (l.type != abi::f_rdlck && l.type != abi::f_wrlck && (is_query || l.type != abi::f_unlck))
    return errc::inval;
  if (!is_query && ((l.type == abi::f_rdlck && !f.readable()) || (l.type == abi::f_wrlck && !f.can_write())))
    return errc::badf;
  return {};
}

answer record_lock(call& c, const fs::file& f) {
  auto l = TRY(read_struct<abi::flock>(c.u(2)));
  bool is_query = c.i(1) == abi::f_getlk;
  TRY(check_record_lock(f, l, is_query));
  if (is_query) {
    l.type = abi::f_unlck;
    TRY(write_struct(c.u(2), l));
  }
  return 0;
}

bool works_on_path(int command) {
  return command == abi::f_dupfd || command == abi::f_dupfd_cloexec || command == abi::f_getfd ||
         command == abi::f_setfd || command == abi::f_getfl;
}

}  // namespace

answer sys_fcntl(call& c) {
  auto f = TRY(files().get(c.i(0)));
  if (f->is_path() && !works_on_path(c.i(1)))
    return errc::badf;
  switch (c.i(1)) {
    case abi::f_dupfd:
    case abi::f_dupfd_cloexec:
      if (c.i(2) < 0 || c.i(2) >= fs::descriptors_max)
        return errc::inval;
      return TRY(files().add(f, c.i(1) == abi::f_dupfd_cloexec, c.i(2)));
    case abi::f_getfd:
      return TRY(files().close_on_exec(c.i(0))) ? i64{abi::fd_cloexec} : 0;
    case abi::f_setfd:
      TRY(files().set_close_on_exec(c.i(0), c.u(2) & abi::fd_cloexec));
      return 0;
    case abi::f_getfl:
      return i64(f->flags() & ~(abi::o_cloexec | abi::o_creat | abi::o_excl | abi::o_trunc | abi::o_noctty));
    case abi::f_setfl:
      f->set_status_flags(u32(c.u(2)));
      return 0;
    case abi::f_getlk:
    case abi::f_setlk:
    case abi::f_setlkw:
      return record_lock(c, *f);
    default:
      return errc::inval;
  }
}

answer sys_ioctl(call& c) {
  auto f = TRY(files().get(c.i(0)));
  if (f->flags() & abi::o_path)
    return errc::badf;
  if (u32(c.u(1)) == abi::fionbio) {
    auto on = TRY(read_struct<int>(c.u(2)));
    f->set_status_flags((f->flags() & ~abi::o_nonblock) | (on ? abi::o_nonblock : 0));
    return 0;
  }
  return f->ioctl(u32(c.u(1)), c.u(2));
}

answer sys_fsync(call& c) {
  auto f = TRY(files().get(c.i(0)));
  if (f->is_path())
    return errc::badf;
  bool has_content = f->of() && (f->of()->type() == fs::node_type::regular || f->of()->is_directory());
  return has_content ? answer(0) : answer(errc::inval);
}
answer sys_fdatasync(call& c) {
  return sys_fsync(c);
}

answer sys_ftruncate(call& c) {
  auto f = TRY(files().get(c.i(0)));
  if (f->is_path())
    return errc::badf;
  if (i64(c.u(1)) < 0 || !f->can_write() || !f->of() || f->of()->type() != fs::node_type::regular)
    return errc::inval;
  TRY(f->of()->truncate(c.u(1)));
  return 0;
}

answer sys_fadvise64(call& c) {
  auto f = TRY(files().get(c.i(0)));
  if (!f->of())
    return errc::spipe;
  return c.u(3) > 5 ? answer(errc::inval) : answer(0);
}

namespace {

// The entry behind `cookie`. ENOENT: none.
status next_entry(fs::node& directory, u64 cookie, fs::directory_entry& out) {
  if (cookie >= fs::dots_cookie)
    return directory.next_child(cookie, out);
  const fs::node& named = cookie == 0 || !directory.parent() ? directory : *directory.parent();
  out.name = cookie == 0 ? "." : "..";
  out.ino = named.ino(), out.type = fs::node_type::directory, out.cookie = cookie + 1;
  return {};
}

}  // namespace

answer sys_getdents64(call& c) {
  auto f = TRY(files().get(c.i(0)));
  if (f->is_path())
    return errc::badf;
  if (!f->of() || !f->of()->is_directory())
    return errc::notdir;
  u64 to = c.u(1), left = u32(c.u(2)), total = 0;
  mutex_guard guard(f->position_lock);
  for (;;) {
    alignas(8) char buffer[sizeof(abi::dirent64) + abi::name_max + 8] = {};
    // SAFETY: aligned, and large enough for the longest name.
    auto* e = reinterpret_cast<abi::dirent64*>(buffer);
    {
      mutex_guard tree(fs::tree_mutex());
      fs::directory_entry entry;
      if (!next_entry(*f->of(), f->position, entry))
        break;
      e->ino = entry.ino;
      e->off = i64(entry.cookie);
      e->type = u8(entry.type);
      e->reclen = u16(align_up(offsetof(abi::dirent64, name) + entry.name.size() + 1, 8));
      std::memcpy(e->name, entry.name.data(), entry.name.size());
    }
    if (e->reclen > left)
      return total ? answer(i64(total)) : answer(errc::inval);
    if (!mm::copy_out(mm::program_pointer<void>(to), buffer, e->reclen))
      return total ? answer(i64(total)) : answer(errc::fault);
    to += e->reclen;
    left -= e->reclen;
    total += e->reclen;
    f->position = u64(e->off);
  }
  f->of()->mark_accessed();
  return i64(total);
}

// Pipes and events.

namespace {

answer make_pipe(i32* program_fds, u32 flags) {
  if (flags & ~(abi::o_cloexec | abi::o_nonblock))
    return errc::inval;
  auto ends = TRY(fs::make_pipe(flags & abi::o_nonblock));
  i32 fds[2];
  fds[0] = TRY(files().add(ends.reader, flags & abi::o_cloexec));
  auto second = files().add(ends.writer, flags & abi::o_cloexec);
  if (!second) {
    (void)files().close(fds[0]);
    return second.error();
  }
  fds[1] = *second;
  if (!mm::copy_out(program_fds, fds, sizeof fds)) {
    (void)files().close(fds[0]);
    (void)files().close(fds[1]);
    return errc::fault;
  }
  return 0;
}

answer make_eventfd(u32 initial, u32 flags) {
  if (flags & ~(abi::o_cloexec | abi::o_nonblock | abi::efd_semaphore))
    return errc::inval;
  auto f = TRY(fs::make_eventfd(initial, flags));
  return TRY(files().add(f, flags & abi::o_cloexec));
}

}  // namespace

answer sys_pipe2(call& c) {
  return make_pipe(c.p<i32>(0), u32(c.u(1)));
}
answer sys_pipe(call& c) {
  return make_pipe(c.p<i32>(0), 0);
}

answer sys_eventfd2(call& c) {
  return make_eventfd(u32(c.u(0)), u32(c.u(1)));
}
answer sys_eventfd(call& c) {
  return make_eventfd(u32(c.u(0)), 0);
}

}  // namespace solaster::kernel::sys

// Calls that take a path: opening, looking, making, removing.
// Spec: open(2), stat(2), statx(2), access(2), readlink(2), getcwd(2), mkdir(2), unlink(2).

#include "kernel/fs/path.hh"

#include <cstring>

#include "kernel/mm/frames.hh"
#include "kernel/sched/clock.hh"
#include "kernel/sys/call.hh"

namespace solaster::kernel::sys {

namespace {

task::process& p() {
  return task::the_process();
}

// Where a relative path starts.
result<ref<fs::node>> start_of(int dirfd, std::string_view path) {
  if (path.starts_with('/'))
    return fs::root();
  if (dirfd == abi::at_fdcwd)
    return p().cwd.get();
  auto f = TRY(p().files.get(dirfd));
  if (!f->of() || !f->of()->is_directory())
    return errc::notdir;
  return ref<fs::node>(f->of());
}

// What a path names: with AT_EMPTY_PATH and an empty path the descriptor's own node (null: it has none).
result<ref<fs::node>> node_at(int dirfd, std::string_view path, u32 flags) {
  if (path.empty() && (flags & abi::at_empty_path)) {
    if (dirfd == abi::at_fdcwd)
      return p().cwd.get();
    return ref<fs::node>(TRY(p().files.get(dirfd))->of());
  }
  auto start = TRY(start_of(dirfd, path));
  return fs::resolve(start.get(), path, (flags & abi::at_symlink_nofollow) ? fs::follow::no : fs::follow::yes);
}

answer open_at(int dirfd, u64 path_address, u32 flags, u32 mode) {
  path_argument path;
  TRY(path.read(path_address));
  auto start = TRY(start_of(dirfd, path.view()));
  auto f = TRY(fs::open(start.get(), path.view(), flags, mode & ~p().umask));
  return TRY(p().files.add(std::move(f), flags & abi::o_cloexec));
}

result<abi::stat> stat_at(int dirfd, u64 path_address, u32 flags) {
  path_argument path;
  TRY(path.read(path_address));
  abi::stat st;
  auto node = TRY(node_at(dirfd, path.view(), flags));
  if (node)
    node->fill_stat(st);
  else
    TRY(p().files.get(dirfd))->fill_stat(st);
  return st;
}

answer put_stat(result<abi::stat> st, u64 to) {
  TRY(write_struct(to, TRY(std::move(st))));
  return 0;
}

constexpr u32 stat_flags = abi::at_symlink_nofollow | abi::at_empty_path | 0x800 | 0x6000;  // NO_AUTOMOUNT, STATX_SYNC

answer access_at(int dirfd, u64 path_address, u32 mode, u32 flags) {
  if (mode & ~7u)
    return errc::inval;
  if (flags & ~(abi::at_symlink_nofollow | abi::at_eaccess | abi::at_empty_path))
    return errc::inval;
  auto st = TRY(stat_at(dirfd, path_address, flags & (abi::at_symlink_nofollow | abi::at_empty_path)));
  // The one user is root: only execution of what nobody may execute is refused.
  bool is_directory = (st.mode & abi::s_ifmt) == abi::s_ifdir;
  if ((mode & abi::x_ok) && !is_directory && !(st.mode & 0111))
    return errc::acces;
  return 0;
}

answer readlink_at(int dirfd, u64 path_address, u64 to, i64 size) {
  if (size <= 0)
    return errc::inval;
  path_argument path;
  TRY(path.read(path_address));
  auto node = TRY(node_at(dirfd, path.view(), abi::at_symlink_nofollow | abi::at_empty_path));
  if (!node || !node->is_symlink())
    return path.view().empty() ? errc::noent : errc::inval;
  text target;
  TRY(node->read_target(target));
  if (!target.complete())
    return errc::nomem;
  auto view = target.view();
  usize n = view.size() < usize(size) ? view.size() : usize(size);
  if (!mm::copy_out(mm::program_pointer<void>(to), view.data(), n))
    return errc::fault;
  return i64(n);
}

answer put_statfs(const fs::filesystem* of, u64 to) {
  abi::statfs s = {};
  s.bsize = s.frsize = i64(page_size);
  s.namelen = abi::name_max;
  s.type = of ? of->magic : abi::pipefs_magic;
  if (of && of->has_space) {
    s.blocks = mm::total_bytes() / page_size;
    s.bfree = s.bavail = mm::free_bytes() / page_size;
    // A file takes a page at least.
    s.files = s.blocks;
    s.ffree = s.bfree;
  }
  TRY(write_struct(to, s));
  return 0;
}

}  // namespace

status path_argument::read(u64 address) {
  auto* from = mm::program_pointer<const char>(address);
  long n = mm::copy_string_in(_short, from, sizeof _short);
  if (n == -long(errc::nametoolong)) {
    _long.reset(new (std::nothrow) char[abi::path_max]);
    if (!_long)
      return errc::nomem;
    n = mm::copy_string_in(_long.get(), from, abi::path_max);
  }
  if (n < 0)
    return errc(-n);
  _length = usize(n);
  return {};
}

answer sys_open(call& c) {
  return open_at(abi::at_fdcwd, c.u(0), u32(c.u(1)), u32(c.u(2)));
}
answer sys_creat(call& c) {
  return open_at(abi::at_fdcwd, c.u(0), abi::o_creat | abi::o_wronly | abi::o_trunc, u32(c.u(1)));
}
answer sys_openat(call& c) {
  return open_at(c.i(0), c.u(1), u32(c.u(2)), u32(c.u(3)));
}

answer sys_stat(call& c) {
  return put_stat(stat_at(abi::at_fdcwd, c.u(0), 0), c.u(1));
}
answer sys_lstat(call& c) {
  return put_stat(stat_at(abi::at_fdcwd, c.u(0), abi::at_symlink_nofollow), c.u(1));
}
answer sys_newfstatat(call& c) {
  if (u32(c.u(3)) & ~stat_flags)
    return errc::inval;
  return put_stat(stat_at(c.i(0), c.u(1), u32(c.u(3))), c.u(2));
}
answer sys_fstat(call& c) {
  abi::stat st;
  TRY(p().files.get(c.i(0)))->fill_stat(st);
  TRY(write_struct(c.u(1), st));
  return 0;
}

answer sys_statx(call& c) {
  if ((u32(c.u(2)) & ~stat_flags) || (u32(c.u(3)) & 0x80000000u))
    return errc::inval;
  auto st = TRY(stat_at(c.i(0), c.u(1), u32(c.u(2))));
  abi::statx x = {};
  auto time = [](const abi::timespec& t) { return abi::statx_timestamp{t.sec, u32(t.nsec), 0}; };
  x.mask = abi::statx_basic_stats;
  x.blksize = u32(st.blksize);
  x.nlink = u32(st.nlink);
  x.uid = st.uid, x.gid = st.gid, x.mode = u16(st.mode);
  x.ino = st.ino, x.size = u64(st.size), x.blocks = u64(st.blocks);
  x.atime = time(st.atime), x.ctime = time(st.ctime), x.mtime = time(st.mtime);
  x.rdev_major = u32(st.rdev >> 8), x.rdev_minor = u32(st.rdev & 255);
  x.dev_major = u32(st.dev >> 8), x.dev_minor = u32(st.dev & 255);
  TRY(write_struct(c.u(4), x));
  return 0;
}

answer sys_statfs(call& c) {
  path_argument path;
  TRY(path.read(c.u(0)));
  return put_statfs(TRY(node_at(abi::at_fdcwd, path.view(), 0))->mount(), c.u(1));
}
answer sys_fstatfs(call& c) {
  auto f = TRY(p().files.get(c.i(0)));
  return put_statfs(f->of() ? f->of()->mount() : nullptr, c.u(1));
}

answer sys_access(call& c) {
  return access_at(abi::at_fdcwd, c.u(0), u32(c.u(1)), 0);
}
answer sys_faccessat(call& c) {
  return access_at(c.i(0), c.u(1), u32(c.u(2)), 0);
}
answer sys_faccessat2(call& c) {
  return access_at(c.i(0), c.u(1), u32(c.u(2)), u32(c.u(3)));
}

answer sys_readlink(call& c) {
  return readlink_at(abi::at_fdcwd, c.u(0), c.u(1), c.i(2));
}
answer sys_readlinkat(call& c) {
  return readlink_at(c.i(0), c.u(1), c.u(2), c.i(3));
}

answer sys_getcwd(call& c) {
  std::unique_ptr<char[]> text(new (std::nothrow) char[abi::path_max]);
  if (!text)
    return errc::nomem;
  auto here = p().cwd.get();
  if (here->is_removed())
    return errc::noent;
  usize n = TRY(fs::path_of(*here, {text.get(), abi::path_max - 1}));
  text[n++] = 0;
  if (c.u(1) < n)
    return errc::range;
  if (!mm::copy_out(c.p<char>(0), text.get(), n))
    return errc::fault;
  return i64(n);
}

answer sys_chdir(call& c) {
  path_argument path;
  TRY(path.read(c.u(0)));
  auto to = TRY(node_at(abi::at_fdcwd, path.view(), 0));
  if (!to->is_directory())
    return errc::notdir;
  p().cwd.set(std::move(to));
  return 0;
}

answer sys_fchdir(call& c) {
  auto f = TRY(p().files.get(c.i(0)));
  if (!f->of() || !f->of()->is_directory())
    return errc::notdir;
  p().cwd.set(ref<fs::node>(f->of()));
  return 0;
}

namespace {

answer make_directory_at(int dirfd, u64 path_address, u32 mode) {
  path_argument path;
  TRY(path.read(path_address));
  auto start = TRY(start_of(dirfd, path.view()));
  TRY(fs::make_directory(start.get(), path.view(), mode & ~p().umask));
  return 0;
}

answer remove_at(int dirfd, u64 path_address, u64 flags) {
  if (flags & ~u64{abi::at_removedir})
    return errc::inval;
  path_argument path;
  TRY(path.read(path_address));
  auto start = TRY(start_of(dirfd, path.view()));
  if (flags & abi::at_removedir) {
    TRY(fs::remove_directory(start.get(), path.view()));
  } else {
    TRY(fs::unlink(start.get(), path.view()));
  }
  return 0;
}

}  // namespace

answer sys_mkdirat(call& c) {
  return make_directory_at(c.i(0), c.u(1), u32(c.u(2)));
}
answer sys_mkdir(call& c) {
  return make_directory_at(abi::at_fdcwd, c.u(0), u32(c.u(1)));
}

answer sys_unlinkat(call& c) {
  return remove_at(c.i(0), c.u(1), c.u(2));
}
answer sys_unlink(call& c) {
  return remove_at(abi::at_fdcwd, c.u(0), 0);
}
answer sys_rmdir(call& c) {
  return remove_at(abi::at_fdcwd, c.u(0), abi::at_removedir);
}

answer sys_umask(call& c) {
  return i64(std::exchange(p().umask, u32(c.u(0)) & 0777));
}

// Attributes.

namespace {

// As chmod(2)'s descriptor forms: not of a descriptor that only names its file.
result<ref<fs::node>> node_of_open(int fd) {
  auto f = TRY(p().files.get(fd));
  if (f->is_path())
    return errc::badf;
  return ref<fs::node>(f->of());
}

answer change_mode(int dirfd, u64 path_address, u32 mode) {
  path_argument path;
  TRY(path.read(path_address));
  TRY(TRY(node_at(dirfd, path.view(), 0))->set_permissions(mode));
  return 0;
}

struct wanted_time {
  bool keep = false;
  i64 ns = 0;
};

result<wanted_time> read_time(const abi::timespec& t, i64 now) {
  constexpr i64 second_ns = 1'000'000'000;
  if (t.nsec == abi::utime_omit)
    return wanted_time{true, 0};
  if (t.nsec == abi::utime_now)
    return wanted_time{false, now};
  if (t.nsec < 0 || t.nsec >= second_ns)
    return errc::inval;
  wanted_time w;
  if (__builtin_mul_overflow(t.sec, second_ns, &w.ns) || __builtin_add_overflow(w.ns, t.nsec, &w.ns))
    w.ns = t.sec < 0 ? i64{-0x7fffffffffffffff} : 0x7fffffffffffffff;  // as Linux: to what the file system can keep
  return w;
}

}  // namespace

answer sys_chmod(call& c) {
  return change_mode(abi::at_fdcwd, c.u(0), u32(c.u(1)));
}
answer sys_fchmodat(call& c) {
  return change_mode(c.i(0), c.u(1), u32(c.u(2)));
}
answer sys_fchmod(call& c) {
  auto node = TRY(node_of_open(c.i(0)));
  if (!node)
    return errc::perm;  // a pipe's mode is nowhere kept
  TRY(node->set_permissions(u32(c.u(1))));
  return 0;
}

answer sys_utimensat(call& c) {
  i64 now = realtime_ns();
  wanted_time accessed{false, now}, modified{false, now};
  u32 flags = u32(c.u(3));
  if (c.u(2)) {
    abi::timespec times[2];
    if (!mm::copy_in(times, c.p<const void>(2), sizeof times))
      return errc::fault;
    if (times[0].nsec == abi::utime_omit && times[1].nsec == abi::utime_omit)
      return 0;
    accessed = TRY(read_time(times[0], now));
    modified = TRY(read_time(times[1], now));
  }
  if (flags & ~(abi::at_symlink_nofollow | abi::at_empty_path))
    return errc::inval;
  ref<fs::node> node;
  if (c.u(1)) {
    path_argument path;
    TRY(path.read(c.u(1)));
    node = TRY(node_at(c.i(0), path.view(), flags));
  } else if (flags) {
    return errc::inval;
  } else {
    node = TRY(node_of_open(c.i(0)));
  }
  if (node)
    node->set_times(accessed.keep ? nullptr : &accessed.ns, modified.keep ? nullptr : &modified.ns);
  return node ? answer(0) : answer(errc::perm);
}

}  // namespace solaster::kernel::sys

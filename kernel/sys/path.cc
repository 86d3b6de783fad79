// Calls that take a path: opening, looking, making, removing.
// Spec: open(2), stat(2), statx(2), access(2), readlink(2), getcwd(2), mkdir(2), unlink(2).

#include "kernel/fs/path.hh"

#include <cstring>

#include "kernel/sys/call.hh"

namespace solaster::kernel::sys {

namespace {

task::process& p() {
  return task::the_process();
}

ref<fs::node> working_directory() {
  mutex_guard guard(fs::tree_mutex());
  return p().cwd;
}

// Where a relative path starts.
result<ref<fs::node>> start_of(int dirfd, std::string_view path) {
  if (path.starts_with('/') || dirfd == abi::at_fdcwd)
    return working_directory();
  auto f = TRY(p().files.get(dirfd));
  if (!f->of() || !f->of()->is_directory())
    return errc::notdir;
  return ref<fs::node>(f->of());
}

answer open_at(int dirfd, u64 path_address, u32 flags, u32 mode) {
  auto path = TRY(path_argument::read(path_address));
  auto start = TRY(start_of(dirfd, path.view()));
  auto f = TRY(fs::open(start.get(), path.view(), flags, mode & ~p().umask));
  return TRY(p().files.add(f, flags & abi::o_cloexec));
}

result<abi::stat> stat_at(int dirfd, u64 path_address, u32 flags) {
  auto path = TRY(path_argument::read(path_address));
  abi::stat st;
  if (path.view().empty() && (flags & abi::at_empty_path)) {
    if (dirfd == abi::at_fdcwd) {
      working_directory()->fill_stat(st);
    } else {
      TRY(p().files.get(dirfd))->fill_stat(st);
    }
    return st;
  }
  auto start = TRY(start_of(dirfd, path.view()));
  auto how = (flags & abi::at_symlink_nofollow) ? fs::follow::no : fs::follow::yes;
  TRY(fs::resolve(start.get(), path.view(), how))->fill_stat(st);
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
  auto path = TRY(path_argument::read(path_address));
  auto start = TRY(start_of(dirfd, path.view()));
  auto found = TRY(fs::resolve(start.get(), path.view(), fs::follow::no));
  if (!found->is_symlink())
    return errc::inval;
  auto target = TRY(found->target());
  usize n = target.size() < usize(size) ? target.size() : usize(size);
  if (!mm::copy_out(mm::program_pointer<void>(to), target.data(), n))
    return errc::fault;
  return i64(n);
}

}  // namespace

result<path_argument> path_argument::read(u64 address) {
  path_argument a;
  a._text.reset(new (std::nothrow) char[abi::path_max]);
  if (!a._text)
    return errc::nomem;
  long n = mm::copy_string_in(a._text.get(), mm::program_pointer<const char>(address), abi::path_max);
  if (n < 0)
    return errc(-n);
  a._length = usize(n);
  return a;
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
  abi::stat st = TRY(stat_at(abi::at_fdcwd, c.u(0), 0));
  (void)st;
  abi::statfs s = {};
  s.type = abi::ramfs_magic;
  s.bsize = s.frsize = i64(page_size);
  s.namelen = abi::name_max;
  TRY(write_struct(c.u(1), s));
  return 0;
}
answer sys_fstatfs(call& c) {
  TRY(p().files.get(c.i(0)));
  abi::statfs s = {};
  s.type = abi::ramfs_magic;
  s.bsize = s.frsize = i64(page_size);
  s.namelen = abi::name_max;
  TRY(write_struct(c.u(1), s));
  return 0;
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
  usize n = TRY(fs::path_of(working_directory().get(), {text.get(), abi::path_max - 1}));
  text[n++] = 0;
  if (c.u(1) < n)
    return errc::range;
  if (!mm::copy_out(c.p<char>(0), text.get(), n))
    return errc::fault;
  return i64(n);
}

answer sys_chdir(call& c) {
  auto path = TRY(path_argument::read(c.u(0)));
  auto to = TRY(fs::resolve(working_directory().get(), path.view(), fs::follow::yes));
  if (!to->is_directory())
    return errc::notdir;
  mutex_guard guard(fs::tree_mutex());
  p().cwd = to;
  return 0;
}

answer sys_mkdirat(call& c) {
  auto path = TRY(path_argument::read(c.u(1)));
  auto start = TRY(start_of(c.i(0), path.view()));
  TRY(fs::make_directory(start.get(), path.view(), u32(c.u(2)) & ~p().umask));
  return 0;
}
answer sys_mkdir(call& c) {
  call at{c.frame, {u64(abi::at_fdcwd), c.a[0], c.a[1]}};
  return sys_mkdirat(at);
}

answer sys_unlinkat(call& c) {
  if (c.u(2) & ~u64{abi::at_removedir})
    return errc::inval;
  auto path = TRY(path_argument::read(c.u(1)));
  auto start = TRY(start_of(c.i(0), path.view()));
  if (c.u(2) & abi::at_removedir) {
    TRY(fs::remove_directory(start.get(), path.view()));
  } else {
    TRY(fs::unlink(start.get(), path.view()));
  }
  return 0;
}
answer sys_unlink(call& c) {
  call at{c.frame, {u64(abi::at_fdcwd), c.a[0], 0}};
  return sys_unlinkat(at);
}
answer sys_rmdir(call& c) {
  call at{c.frame, {u64(abi::at_fdcwd), c.a[0], abi::at_removedir}};
  return sys_unlinkat(at);
}

answer sys_umask(call& c) {
  return i64(std::exchange(p().umask, u32(c.u(0)) & 0777));
}

// Modes and times are not kept for the one user: the file must exist.
answer sys_chmod(call& c) {
  TRY(stat_at(abi::at_fdcwd, c.u(0), 0));
  return 0;
}
answer sys_fchmod(call& c) {
  TRY(p().files.get(c.i(0)));
  return 0;
}
answer sys_utimensat(call& c) {
  if (c.u(1))
    TRY(stat_at(c.i(0), c.u(1), 0));
  return 0;
}

}  // namespace solaster::kernel::sys

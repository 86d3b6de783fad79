// Files: open flags, stat, directory entries, polling, terminal control.
// Spec: Linux include/uapi/asm-generic/fcntl.h, arch/x86/include/uapi/asm/stat.h, include/uapi/linux/stat.h,
//       asm-generic/{poll,ioctls,termbits}.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel/abi/time.hh"

namespace solaster::kernel::abi {

inline constexpr uint32_t o_accmode = 3;
inline constexpr uint32_t o_rdonly = 0;
inline constexpr uint32_t o_wronly = 1;
inline constexpr uint32_t o_rdwr = 2;
inline constexpr uint32_t o_creat = 0100;
inline constexpr uint32_t o_excl = 0200;
inline constexpr uint32_t o_noctty = 0400;
inline constexpr uint32_t o_trunc = 01000;
inline constexpr uint32_t o_append = 02000;
inline constexpr uint32_t o_nonblock = 04000;
inline constexpr uint32_t o_directory = 0200000;
inline constexpr uint32_t o_nofollow = 0400000;
inline constexpr uint32_t o_cloexec = 02000000;
inline constexpr uint32_t o_path = 010000000;
inline constexpr uint32_t o_largefile = 0100000;

inline constexpr int at_fdcwd = -100;
inline constexpr uint32_t at_symlink_nofollow = 0x100;
inline constexpr uint32_t at_removedir = 0x200;
inline constexpr uint32_t at_eaccess = 0x200;
inline constexpr uint32_t at_empty_path = 0x1000;

inline constexpr int f_dupfd = 0;
inline constexpr int f_getfd = 1;
inline constexpr int f_setfd = 2;
inline constexpr int f_getfl = 3;
inline constexpr int f_setfl = 4;
inline constexpr int f_getlk = 5;
inline constexpr int f_setlk = 6;
inline constexpr int f_setlkw = 7;
inline constexpr int f_dupfd_cloexec = 1030;
inline constexpr uint32_t fd_cloexec = 1;

inline constexpr uint32_t s_ifmt = 0170000;
inline constexpr uint32_t s_ifreg = 0100000;
inline constexpr uint32_t s_ifdir = 0040000;
inline constexpr uint32_t s_ifchr = 0020000;
inline constexpr uint32_t s_ifblk = 0060000;
inline constexpr uint32_t s_iflnk = 0120000;
inline constexpr uint32_t s_ififo = 0010000;

inline constexpr int seek_set = 0;
inline constexpr int seek_cur = 1;
inline constexpr int seek_end = 2;

inline constexpr int r_ok = 4;
inline constexpr int w_ok = 2;
inline constexpr int x_ok = 1;

inline constexpr size_t path_max = 4096;
inline constexpr size_t name_max = 255;
inline constexpr size_t iov_max = 1024;

struct stat {
  uint64_t dev;
  uint64_t ino;
  uint64_t nlink;
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
  uint32_t pad0;
  uint64_t rdev;
  int64_t size;
  int64_t blksize;
  int64_t blocks;
  timespec atime;
  timespec mtime;
  timespec ctime;
  int64_t reserved[3];
};
static_assert(sizeof(stat) == 144 && offsetof(stat, rdev) == 40 && offsetof(stat, atime) == 72);

struct statx_timestamp {
  int64_t sec;
  uint32_t nsec;
  int32_t reserved;
};

struct statx {
  uint32_t mask;
  uint32_t blksize;
  uint64_t attributes;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint16_t mode;
  uint16_t spare0;
  uint64_t ino;
  uint64_t size;
  uint64_t blocks;
  uint64_t attributes_mask;
  statx_timestamp atime;
  statx_timestamp btime;
  statx_timestamp ctime;
  statx_timestamp mtime;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  uint32_t dev_major;
  uint32_t dev_minor;
  uint64_t mnt_id;
  uint64_t spare[13];
};
static_assert(sizeof(statx) == 256 && offsetof(statx, atime) == 64 && offsetof(statx, rdev_major) == 128);
inline constexpr uint32_t statx_basic_stats = 0x7ff;

struct statfs {
  int64_t type;
  int64_t bsize;
  uint64_t blocks;
  uint64_t bfree;
  uint64_t bavail;
  uint64_t files;
  uint64_t ffree;
  int32_t fsid[2];
  int64_t namelen;
  int64_t frsize;
  int64_t flags;
  int64_t spare[4];
};
static_assert(sizeof(statfs) == 120);
inline constexpr int64_t tmpfs_magic = 0x01021994;
inline constexpr int64_t pipefs_magic = 0x50495045;
inline constexpr int64_t proc_magic = 0x9fa0;
inline constexpr int64_t sysfs_magic = 0x62656572;

// utimensat: a nanosecond field may say "now" or "keep".
inline constexpr int64_t utime_now = 0x3fffffff;
inline constexpr int64_t utime_omit = 0x3ffffffe;

// fcntl's record locks.
struct flock {
  int16_t type;
  int16_t whence;
  int64_t start;
  int64_t len;
  int32_t pid;
};
static_assert(sizeof(flock) == 32 && offsetof(flock, start) == 8 && offsetof(flock, pid) == 24);
inline constexpr int16_t f_rdlck = 0;
inline constexpr int16_t f_wrlck = 1;
inline constexpr int16_t f_unlck = 2;

inline constexpr uint32_t close_range_unshare = 2;
inline constexpr uint32_t close_range_cloexec = 4;

struct iovec {
  uint64_t base;
  uint64_t len;
};
static_assert(sizeof(iovec) == 16);

// A directory entry is this, the name, a NUL, padding to 8.
struct dirent64 {
  uint64_t ino;
  int64_t off;
  uint16_t reclen;
  uint8_t type;
  char name[1];
};
static_assert(offsetof(dirent64, name) == 19);

struct pollfd {
  int32_t fd;
  int16_t events;
  int16_t revents;
};
static_assert(sizeof(pollfd) == 8);
inline constexpr int16_t poll_in = 1;
inline constexpr int16_t poll_pri = 2;
inline constexpr int16_t poll_out = 4;
inline constexpr int16_t poll_err = 8;
inline constexpr int16_t poll_hup = 0x10;
inline constexpr int16_t poll_nval = 0x20;
inline constexpr int16_t poll_rdnorm = 0x40;
inline constexpr int16_t poll_wrnorm = 0x100;

inline constexpr uint32_t efd_semaphore = 1;

inline constexpr uint32_t tcgets = 0x5401;
inline constexpr uint32_t tcsets = 0x5402;
inline constexpr uint32_t tcsetsw = 0x5403;
inline constexpr uint32_t tcsetsf = 0x5404;
inline constexpr uint32_t tiocgpgrp = 0x540f;
inline constexpr uint32_t tiocgwinsz = 0x5413;
inline constexpr uint32_t fionread = 0x541b;
inline constexpr uint32_t fionbio = 0x5421;

struct termios {
  uint32_t iflag;
  uint32_t oflag;
  uint32_t cflag;
  uint32_t lflag;
  uint8_t line;
  uint8_t cc[19];
};
static_assert(sizeof(termios) == 36);
inline constexpr uint32_t tty_isig = 1;
inline constexpr int tty_vintr = 0;  // index into cc
inline constexpr uint32_t tty_cs8 = 060;
inline constexpr uint32_t tty_cread = 0200;
inline constexpr uint32_t tty_b115200 = 0010002;

struct winsize {
  uint16_t row;
  uint16_t col;
  uint16_t xpixel;
  uint16_t ypixel;
};

}  // namespace solaster::kernel::abi

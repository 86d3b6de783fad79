// Linux error numbers, x86-64.
// Spec: Linux include/uapi/asm-generic/errno-base.h, errno.h; pinned in tests/unit/kernel/abi_test.cc.
#pragma once

namespace solaster::kernel::abi {

inline constexpr int e_perm = 1;
inline constexpr int e_noent = 2;
inline constexpr int e_srch = 3;
inline constexpr int e_intr = 4;
inline constexpr int e_io = 5;
inline constexpr int e_nxio = 6;
inline constexpr int e_2big = 7;
inline constexpr int e_noexec = 8;
inline constexpr int e_badf = 9;
inline constexpr int e_child = 10;
inline constexpr int e_again = 11;
inline constexpr int e_nomem = 12;
inline constexpr int e_acces = 13;
inline constexpr int e_fault = 14;
inline constexpr int e_busy = 16;
inline constexpr int e_exist = 17;
inline constexpr int e_xdev = 18;
inline constexpr int e_nodev = 19;
inline constexpr int e_notdir = 20;
inline constexpr int e_isdir = 21;
inline constexpr int e_inval = 22;
inline constexpr int e_nfile = 23;
inline constexpr int e_mfile = 24;
inline constexpr int e_notty = 25;
inline constexpr int e_fbig = 27;
inline constexpr int e_nospc = 28;
inline constexpr int e_spipe = 29;
inline constexpr int e_rofs = 30;
inline constexpr int e_mlink = 31;
inline constexpr int e_pipe = 32;
inline constexpr int e_range = 34;
inline constexpr int e_deadlk = 35;
inline constexpr int e_nametoolong = 36;
inline constexpr int e_nosys = 38;
inline constexpr int e_notempty = 39;
inline constexpr int e_loop = 40;
inline constexpr int e_overflow = 75;
inline constexpr int e_opnotsupp = 95;
inline constexpr int e_timedout = 110;

}  // namespace solaster::kernel::abi

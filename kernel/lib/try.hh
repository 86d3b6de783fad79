// KTRY: the value of a kernel result, or a return of its error from the enclosing function. And the error numbers that only
// the file and task layers need (Linux asm-generic/errno-base.h, errno.h).
#pragma once

#include "kernel/lib/errno.hh"

#define KTRY(...)                                                              \
  ({                                                                           \
    auto&& try_result_ = (__VA_ARGS__);                                        \
    if (!try_result_) return ::solaster::kernel::fail(try_result_.error());    \
    *std::move(try_result_);                                                   \
  })

namespace solaster::kernel::err {
inline constexpr int noexec = 8, child = 10, notdir = 20, isdir = 21, nfile = 23, mfile = 24, notty = 25, fbig = 27,
                     spipe = 29, rofs = 30, pipe = 32, range = 34, nametoolong = 36, notempty = 39, loop = 40,
                     overflow = 75, opnotsupp = 95;
}  // namespace solaster::kernel::err

// Results inside the kernel: a value or a positive Linux errno. kernel/sys/ is the one place that turns it into -errno.
//
// Spec: Linux asm-generic/errno-base.h and errno.h; the numbers that kernel/{mm,sched,drivers,direct} need.
#pragma once

#include <expected>

namespace solaster::kernel {

namespace err {
inline constexpr int perm = 1, noent = 2, srch = 3, intr = 4, io = 5, nxio = 6, toobig = 7, badf = 9, again = 11,
                     nomem = 12, access = 13, fault = 14, busy = 16, exist = 17, nodev = 19, inval = 22, nospc = 28,
                     nosys = 38, timedout = 110;
}  // namespace err

template <typename T>
using result = std::expected<T, int>;
using status = std::expected<void, int>;

inline std::unexpected<int> fail(int positive_errno) { return std::unexpected<int>(positive_errno); }

}  // namespace solaster::kernel

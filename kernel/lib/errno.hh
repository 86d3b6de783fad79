// Results inside the kernel: net/base's result<T> (a value or a Linux error number) and TRY. kernel/sys/ is the one
// place that turns one into -errno: -static_cast<int>(r.error()).
#pragma once

#include "net/base/result.hh"

namespace solaster::kernel {

using solaster::errc;
using solaster::result;
using status = result<>;

inline std::unexpected<errc> fail(errc e) {
  return std::unexpected<errc>(e);
}

}  // namespace solaster::kernel

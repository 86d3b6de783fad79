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

// Values that never reach a program: the call is restarted, or ends with EINTR, when the signal is dealt with.
inline constexpr errc restart_if_asked{512};         // ERESTARTSYS: restarted without a handler or with SA_RESTART
inline constexpr errc restart_without_handler{514};  // ERESTARTNOHAND
inline constexpr errc restart_with_deadline{516};    // ERESTART_RESTARTBLOCK: as 514, task_state::restart_deadline kept

}  // namespace solaster::kernel

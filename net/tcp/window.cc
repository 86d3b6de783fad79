// The window that we advertise.
//
// Free memory is what the limit leaves after everything held for the connection, at its true size. The right edge moves
// in steps of a segment (RFC 9293 3.8.6.2.2, silly window syndrome) and never back: when small segments pin more than
// they carry, memory overshoots the limit by that much, and right-sizing keeps it below twice the limit. The field is
// rounded down by the scale; what lies between it and rcv_adv is still taken.
#include <algorithm>

#include "net/tcp/core.hh"
#include "net/tcp/limits.hh"

namespace solaster::net::tcp {

uint32_t core::receive_free(const connection& c) const noexcept {
  const uint32_t held = c.receive_held();
  const auto most = uint32_t(
      allowance(c.receive_limit, _config.receive_guaranteed_bytes, _receive_memory, _config.receive_memory_max));
  return held < most ? most - held : 0;
}

void core::announce_growth(connection& c) noexcept {
  const auto window = uint32_t(c.rcv_end() - c.rcv_nxt);
  const uint32_t free = receive_free(c);
  if (free >= 2 * window && free - window >= std::min<uint32_t>(c.mss, c.receive_limit / 2)) {
    c.ack_now = true;
    want_output(c);
  }
}

uint16_t core::advertise(connection& c) noexcept {
  const seq edge = c.rcv_nxt + receive_free(c);
  if (edge - c.rcv_adv >= int32_t(std::min<uint32_t>(c.mss, c.receive_limit / 2))) {
    c.rcv_adv = edge;
  }
  const int32_t window = c.rcv_adv - c.rcv_nxt;
  return window > 0 ? uint16_t(std::min(uint32_t(window) >> c.rcv_scale, window_unscaled_max)) : 0;
}

// RFC 7323 2.3: the smallest shift with which the whole buffer can be advertised.
uint8_t core::scale_for(uint32_t limit) noexcept {
  uint8_t scale = 0;
  while (limit >> scale > window_unscaled_max && scale < tcp_window_scale_max) {
    ++scale;
  }
  return scale;
}

}  // namespace solaster::net::tcp

// Stands in for TCP until net/tcp is there. Remove then.
#include "net/tcp/layer.hh"
#define W __attribute__((weak))
namespace solaster::net::tcp {
W layer::layer(const stack_config&, memory&, ip_output&, event_queue&, stack_stats&) noexcept { _impl=(impl*)8; }
W layer::~layer() {}
W void layer::input(const segment_info&, packet_ptr, instant) noexcept {}
W void layer::icmp_error(const four_tuple&, uint32_t, errc, bool, uint32_t, instant) noexcept {}
W void layer::expire(instant) noexcept {}
W bool layer::is_valid() const noexcept { return true; }
W void layer::transmit(instant) noexcept {}
W instant layer::next_deadline() const noexcept { return instant::never(); }
}

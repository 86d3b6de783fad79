#include "net/tcp/layer.hh"

#include <new>

#include "net/tcp/core.hh"

namespace solaster::net::tcp {

struct layer::impl {
  memory& home;
  core tcp;
};

layer::layer(const stack_config& config, memory& m, ip_output& ip, event_queue& events, stack_stats& stats) noexcept
    : _impl(nullptr) {
  void* raw = m.allocate(sizeof(impl), alignof(impl));
  if (!raw) {
    return;
  }
  _impl = new (raw) impl{m, {config, m, ip, events, stats}};
  if (!_impl->tcp.valid()) {
    destroy();
  }
}
layer::~layer() {
  destroy();
}

void layer::destroy() noexcept {
  if (impl* i = std::exchange(_impl, nullptr)) {
    memory& home = i->home;
    i->~impl();
    home.deallocate(i, sizeof(impl), alignof(impl));
  }
}

void layer::input(const segment_info& info, packet_ptr segment, instant now) noexcept {
  _impl->tcp.input(info, std::move(segment), now);
}
void layer::icmp_error(const four_tuple& flow, uint32_t quoted, errc error, bool hard, uint32_t mtu,
                       instant now) noexcept {
  _impl->tcp.icmp_error(flow, seq(quoted), error, hard, mtu, now);
}
void layer::expire(instant now) noexcept {
  _impl->tcp.expire(now);
}

result<connection*> layer::connect(endpoint local, endpoint remote, void* cookie, instant now) noexcept {
  return _impl->tcp.connect(local, remote, cookie, now);
}
result<listener*> layer::listen(endpoint local, uint32_t backlog, void* cookie, instant) noexcept {
  return _impl->tcp.listen(local, backlog, cookie);
}
result<connection*> layer::accept(listener* l, void* cookie) noexcept {
  return _impl->tcp.accept(*l, cookie);
}
void layer::release(listener* l, instant now) noexcept {
  _impl->tcp.release(*l, now);
}

result<size_t> layer::send(connection* c, std::span<fragment> data, instant now) noexcept {
  return _impl->tcp.send(*c, data, now);
}
result<size_t> layer::receive(connection* c, std::span<fragment> out, size_t max_bytes) noexcept {
  return _impl->tcp.receive(*c, out, max_bytes);
}
void layer::consume(connection* c, size_t n, instant now) noexcept {
  _impl->tcp.consume(*c, n, now);
}
void layer::close(connection* c, instant now) noexcept {
  _impl->tcp.close(*c, now);
}
void layer::close_receive(connection* c, instant now) noexcept {
  _impl->tcp.close_receive(*c, now);
}
void layer::abort(connection* c, instant now) noexcept {
  _impl->tcp.abort(*c, now);
}
void layer::release(connection* c, instant now) noexcept {
  _impl->tcp.release(*c, now);
}
void layer::set_nodelay(connection* c, bool on) noexcept {
  _impl->tcp.set_nodelay(*c, on);
}
void layer::set_keepalive(connection* c, bool on, duration idle, duration interval, uint32_t probes) noexcept {
  _impl->tcp.set_keepalive(*c, on, idle, interval, probes);
}

four_tuple layer::tuple(const connection* c) const noexcept {
  return c->key.tuple();
}
endpoint layer::local(const listener* l) const noexcept {
  return l->local;
}
bool layer::at_eof(const connection* c) const noexcept {
  return c->at_eof();
}
size_t layer::readable_bytes(const connection* c) const noexcept {
  return c->receive_bytes;
}
size_t layer::send_room(const connection* c) const noexcept {
  return _impl->tcp.send_room(*c);
}
size_t layer::unacknowledged_bytes(const connection* c) const noexcept {
  return c->send_bytes;
}
std::optional<errc> layer::error(const connection* c) const noexcept {
  return c->failure;
}
connection_stats layer::stats(const connection* c) const noexcept {
  connection_stats out = c->counters;
  out.srtt = c->rtt.srtt();
  out.rto = c->rtt.base();
  out.cwnd = c->congestion.cwnd();
  out.ssthresh = c->congestion.ssthresh();
  out.mss = c->mss;
  return out;
}
void layer::set_cookie(connection* c, void* cookie) noexcept {
  c->source.cookie = cookie;
}
void layer::watch_sent(connection* c) noexcept {
  _impl->tcp.watch_sent(*c);
}
size_t layer::connection_count() const noexcept {
  return _impl->tcp.connection_count();
}
bool layer::is_valid() const noexcept {
  return _impl->tcp.is_valid();
}

void layer::transmit(instant now) noexcept {
  _impl->tcp.transmit(now);
}
instant layer::next_deadline() const noexcept {
  return _impl->tcp.next_deadline();
}

}  // namespace solaster::net::tcp

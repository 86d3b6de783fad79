#include "net/tcp/layer.hh"

#include <algorithm>
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
void layer::icmp_error(const four_tuple& flow, uint32_t quoted, errc error, bool hard, uint32_t mtu, instant) noexcept {
  _impl->tcp.icmp_error(flow, seq(quoted), error, hard, mtu);
}
void layer::route_failed(ip_address remote, errc error, instant) noexcept {
  _impl->tcp.route_failed(remote, error);
}
void layer::address_gone(ip_address local, instant) noexcept {
  _impl->tcp.address_gone(local);
}
void layer::expire(instant now) noexcept {
  _impl->tcp.expire(now);
}

result<reservation*> layer::reserve(endpoint local, bool reuse, instant) noexcept {
  return _impl->tcp.reserve(local, reuse);
}
void layer::release(reservation* r) noexcept {
  _impl->tcp.release(*r);
}
result<connection*> layer::connect(endpoint local, endpoint remote, void* cookie, instant now) noexcept {
  return _impl->tcp.connect(local, nullptr, remote, cookie, now);
}
result<connection*> layer::connect_from(const reservation* r, endpoint remote, void* cookie, instant now) noexcept {
  return _impl->tcp.connect(r->local, r, remote, cookie, now);
}
result<listener*> layer::listen(endpoint local, uint32_t backlog, void* cookie, instant) noexcept {
  return _impl->tcp.listen(local, nullptr, backlog, cookie);
}
result<listener*> layer::listen_at(const reservation* r, uint32_t backlog, void* cookie, instant) noexcept {
  return _impl->tcp.listen(r->local, r, backlog, cookie);
}
void layer::set_backlog(listener* l, uint32_t backlog) noexcept {
  l->backlog = std::max(backlog, 1u);
}
result<connection*> layer::accept(listener* l, void* cookie) noexcept {
  return _impl->tcp.accept(*l, cookie);
}
void layer::release(listener* l, instant) noexcept {
  _impl->tcp.release(*l);
}
void layer::set_options(connection* c, const connection_options& options, instant) noexcept {
  _impl->tcp.set_options(*c, options);
}
void layer::set_options(listener* l, const connection_options& options) noexcept {
  l->options = options;
}

result<size_t> layer::send(connection* c, std::span<fragment> data, instant) noexcept {
  return _impl->tcp.send(*c, data);
}
result<size_t> layer::receive(connection* c, std::span<fragment> out, size_t max_bytes) noexcept {
  return _impl->tcp.receive(*c, out, max_bytes);
}
result<size_t> layer::peek(const connection* c, std::span<fragment> out, size_t max_bytes) const noexcept {
  return _impl->tcp.peek(*c, out, max_bytes);
}
void layer::consume(connection* c, size_t n, instant) noexcept {
  _impl->tcp.consume(*c, n);
}
void layer::close(connection* c, instant) noexcept {
  _impl->tcp.close(*c);
}
void layer::close_receive(connection* c, instant, unread rest) noexcept {
  _impl->tcp.close_receive(*c, rest);
}
void layer::abort(connection* c, instant) noexcept {
  _impl->tcp.abort(*c);
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

std::optional<errc> layer::take_error(connection* c) noexcept {
  return _impl->tcp.take_error(*c);
}

four_tuple layer::tuple(const connection* c) const noexcept {
  return c->key.tuple();
}
endpoint layer::local(const listener* l) const noexcept {
  return l->local;
}
endpoint layer::local(const reservation* r) const noexcept {
  return r->local;
}
connection_options layer::options(const connection* c) const noexcept {
  return c->options;
}
connection_options layer::options(const listener* l) const noexcept {
  return l->options;
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
std::optional<errc> layer::error(const connection* c) const noexcept {
  return c->failure;
}
connection_stats layer::stats(const connection* c) const noexcept {
  connection_stats out;
  static_cast<connection_counters&>(out) = c->counters;
  out.st = c->st;
  out.snd_scale = c->snd_scale;
  out.rcv_scale = c->rcv_scale;
  out.retries = c->trouble.retries;
  out.srtt = c->rtt.srtt();
  out.rttvar = c->rtt.rttvar();
  out.rto = c->rtt.base();
  out.cwnd = c->congestion.cwnd();
  out.ssthresh = c->congestion.ssthresh();
  out.mss = c->mss;
  out.path_mtu = c->way.mtu;
  out.snd_wnd = c->snd_wnd;
  out.rcv_wnd = uint32_t(c->rcv_end() - c->rcv_nxt);
  out.unacknowledged = std::min(c->outstanding(), c->send_bytes);
  out.unsent = c->send_bytes - out.unacknowledged;
  out.readable = c->receive_bytes;
  out.last_sent = c->last_sent;
  out.last_received = c->last_received;
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

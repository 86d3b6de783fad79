#include "net/ip/dhcp.hh"

#include <algorithm>
#include <bit>

namespace solaster::net {
namespace {

constexpr uint32_t infinite = 0xffffffff;         // RFC 2131 3.3
constexpr duration retry_least = seconds(60);     // in renewing and rebinding, RFC 2131 4.4.5
constexpr uint32_t lease_default_seconds = 3600;  // a server that names none
constexpr uint32_t lease_least_seconds = 60;      // what is shorter would be spent on renewing
constexpr uint32_t renewal_least_seconds = 30;    // between two renewals that succeed

// What an interface can have as its own (RFC 1122 3.2.1.3).
bool usable(ipv4_address a) {
  return !a.any() && !a.loopback() && a.value >> 28 < 0xe && a.value >> 24 != 0;
}

// By class, when the server sends no mask.
uint8_t default_prefix(ipv4_address a) {
  return a.value >> 31 == 0 ? 8 : a.value >> 30 == 2 ? 16 : 24;
}

}  // namespace

void dhcp_client::start(const mac_address& mac, instant now) noexcept {
  _mac = mac;
  enter(state::selecting, now);
}

void dhcp_client::enter(state s, instant now) noexcept {
  _state = s;
  _tries = 0;
  _send = true;
  _interval = _config.dhcp_retry_initial;
  if (s == state::selecting || s == state::renewing) {
    _xid = uint32_t(_random.next());
    _started = now;
  }
  retry_at(now);
}

// When to give up waiting for an answer to the message that goes out now.
void dhcp_client::retry_at(instant now) noexcept {
  if (_state == state::renewing || _state == state::rebinding) {
    // Half of what remains, a minute at least (RFC 2131 4.4.5).
    const instant end = _state == state::renewing ? _rebind : _expiry;
    const duration half = (end - now) / 2;
    _deadline = std::min(end, now + std::max(half, retry_least));
    return;
  }
  const duration jitter = nanoseconds(int64_t(_random.below(2'000'000'000)) - 1'000'000'000);
  _deadline = now + std::max(_interval + jitter, milliseconds(100));
  _interval = std::min(_interval * 2, _config.dhcp_retry_max);
}

std::optional<dhcp_client::message> dhcp_client::take_message(instant now) noexcept {
  if (!_send)
    return {};
  _send = false;
  ++_tries;
  message m;
  m.query.xid = _xid;
  m.query.client = _mac;
  m.query.elapsed_seconds = uint16_t(std::min<int64_t>((now - _started).ns / 1'000'000'000, 65535));
  m.destination = ipv4_address::broadcast();
  switch (_state) {
    case state::selecting:
      m.query.type = dhcp_type::discover;
      m.query.broadcast = true;
      return m;
    case state::requesting:
      m.query.type = dhcp_type::request;
      m.query.broadcast = true;
      m.query.requested_address = _offered;
      m.query.server_id = _server;
      if (_tries == 1)
        _requested_at = now;
      return m;
    case state::renewing:
    case state::rebinding:
      // Table 5: neither server identifier nor requested address, ciaddr filled in.
      m.query.type = dhcp_type::request;
      m.query.client_address = m.source = _lease.address;
      if (_state == state::renewing)
        m.destination = _server;
      if (_tries == 1)
        _requested_at = now;
      return m;
    default:
      return {};
  }
}

dhcp_client::change dhcp_client::input(const dhcp_reply& reply, instant now) noexcept {
  if (_state == state::off || _state == state::bound || reply.xid != _xid || reply.client != _mac)
    return change::none;
  if (_state == state::selecting) {
    if (reply.type != dhcp_type::offer || !reply.server_id || !usable(reply.your_address))
      return change::none;
    _offered = reply.your_address;
    _server = *reply.server_id;
    enter(state::requesting, now);
    return change::none;
  }
  if (!answers_us(reply))
    return change::none;
  if (reply.type == dhcp_type::nak) {
    const bool had = _state != state::requesting;
    enter(state::selecting, now);
    return had ? change::lost : change::none;
  }
  return acquire(reply, now);
}

// An ACK or NAK to what was asked for: from the server that was chosen (rebinding asks all of them), about the address
// that was offered or is held. Anything else with our transaction's number is somebody's mistake, or a forgery.
bool dhcp_client::answers_us(const dhcp_reply& reply) const noexcept {
  if (reply.type != dhcp_type::ack && reply.type != dhcp_type::nak)
    return false;
  if (!reply.server_id || (_state != state::rebinding && *reply.server_id != _server))
    return false;
  return reply.type == dhcp_type::nak ||
         reply.your_address == (_state == state::requesting ? _offered : _lease.address);
}

dhcp_client::change dhcp_client::acquire(const dhcp_reply& reply, instant now) noexcept {
  const bool fresh = _state == state::requesting;
  const dhcp_lease old = _lease;
  _lease.address = reply.your_address;
  _lease.gateway = reply.router.value_or(ipv4_address{});
  _lease.prefix_length =
      reply.subnet_mask ? uint8_t(std::countl_one(reply.subnet_mask->value)) : default_prefix(_lease.address);
  _server = *reply.server_id;

  const uint32_t length = std::max(reply.lease_seconds.value_or(lease_default_seconds), lease_least_seconds);
  _state = state::bound;
  _send = false;
  if (length == infinite) {
    _deadline = _renew = _rebind = _expiry = instant::never();
  } else {
    // Counted from when the request was sent (RFC 2131 4.4.1); T1 < T2 < lease by 4.4.5, else the server's numbers
    // mean nothing and the defaults hold. A T1 of next to nothing would have us ask without end.
    uint32_t t1 = reply.renewal_seconds.value_or(length / 2);
    uint32_t t2 = reply.rebinding_seconds.value_or(uint32_t(uint64_t(length) * 7 / 8));
    if (t1 < std::min(length / 2, renewal_least_seconds) || t1 >= t2 || t2 >= length) {
      t1 = length / 2;
      t2 = uint32_t(uint64_t(length) * 7 / 8);
    }
    _expiry = _requested_at + seconds(length);
    _rebind = _requested_at + seconds(t2);
    _renew = _requested_at + seconds(t1);
    _deadline = std::max(_renew, now);
  }
  return fresh || _lease != old ? change::acquired : change::none;
}

dhcp_client::change dhcp_client::expire(instant now) noexcept {
  if (now < _deadline)
    return change::none;
  switch (_state) {
    case state::off:
      _deadline = instant::never();
      return change::none;
    case state::bound:
      enter(state::renewing, now);
      return change::none;
    case state::requesting:
      if (_tries >= _config.dhcp_request_tries_max) {
        enter(state::selecting, now);
        return change::none;
      }
      break;
    case state::renewing:
      if (now >= _rebind) {
        enter(state::rebinding, now);
        return change::none;
      }
      break;
    case state::rebinding:
      if (now >= _expiry) {
        enter(state::selecting, now);
        return change::lost;
      }
      break;
    case state::selecting:
      break;
  }
  _send = true;
  retry_at(now);
  return change::none;
}

}  // namespace solaster::net

#include "tests/drill/script.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <tuple>
#include <utility>

#include "net/packet/heap_buffer.hh"
#include "net/tcp/connection.hh"
#include "net/wire/checksum.hh"
#include "net/wire/tcp.hh"

namespace solaster::drill {

using namespace net;

namespace {

constexpr ip_address us = ipv4_address::of(10, 0, 0, 1);
constexpr ip_address peer = ipv4_address::of(10, 0, 0, 2);
constexpr uint16_t our_port = 80;
constexpr uint16_t usual_peer_port = 5000;
constexpr uint32_t headroom = 64;
constexpr uint8_t protocol_tcp = 6;

struct flag_name {
  char letter;
  uint8_t bit;
};
constexpr flag_name flag_names[] = {{'S', tcp_syn}, {'F', tcp_fin}, {'R', tcp_rst}, {'P', tcp_psh}, {'A', tcp_ack}};

}  // namespace

script_config::script_config() {
  stack.tcp.receive_buffer_bytes = 10'000;
  path.source = us;
}

script::script(const script_config& config)
    : _config(config), _buffers(buffer_pool::make(_home, {.buffer_size = 2048})) {
  _tcp = new tcp::layer(config.stack, _home, *this, _events, _stats);
  CHECK(_tcp->valid());
}

script::~script() {
  CHECK(_tcp->is_valid());
  delete _tcp;
}

void script::listen(uint32_t backlog) {
  l = *_tcp->listen({{}, our_port}, backlog, nullptr, now);
}

std::string script::connect() {
  c = *_tcp->connect({{}, our_port}, {peer, peer_port}, nullptr, now);
  return poll();
}

tcp::connection* script::accept() {
  const auto got = _tcp->accept(l, nullptr);
  return c = got ? *got : nullptr;
}

tcp::state script::state() const {
  return c ? c->st : tcp::state::closed;
}

std::string script::in(std::string_view text, uint32_t cut) {
  tcp_header h;
  uint32_t length = 0;
  h.source_port = peer_port;
  h.destination_port = our_port;
  h.window = peer_window;
  const auto word = [&] {
    const size_t space = std::min(text.find(' '), text.size());
    const std::string_view w = text.substr(0, space);
    text.remove_prefix(std::min(space + 1, text.size()));
    return w;
  };
  const auto number = [](std::string_view w) {
    int64_t v = 0;
    std::from_chars(w.data() + (w[0] == '+'), w.data() + w.size(), v);
    return uint32_t(v);
  };
  for (char letter : word()) {
    for (const auto& f : flag_names) {
      h.flags |= f.letter == letter ? f.bit : 0;
    }
  }
  h.seq = peer_iss + number(word());
  for (std::string_view w = word(); !w.empty(); w = word()) {
    if (w == "ack") {
      h.ack = _iss[peer_port] + number(word());
    } else if (w == "win") {
      h.window = uint16_t(number(word()));
    } else {
      length = number(w);
    }
  }
  tcp_options options;
  if (h.flags & tcp_syn) {
    options.mss = peer_mss;
    options.window_scale = int8_t(peer_scale);
    h.options_length = options.size();
  }
  const uint32_t size = h.size() + length;
  packet_ptr p = _slab.make();
  p->append(size <= 2048 ? _buffers->allocate(0, size) : make_heap_fragment(_home, size));
  std::byte* bytes = p->front().data();
  h.emit(bytes);
  options.emit(bytes + tcp_header_min);
  for (uint32_t i = 0; i < length; ++i) {
    bytes[h.size() + i] = std::byte(h.seq + i);
  }
  const uint64_t sum = checksum_bytes(bytes, size, pseudo_header_sum(peer, us, protocol_tcp, size));
  store_raw<uint16_t>(bytes + tcp_checksum_offset, uint16_t(~checksum_fold(sum)));
  if (cut) {
    packet_ptr whole = std::exchange(p, _slab.make());
    const std::pair<uint32_t, uint32_t> parts[] = {{0, cut}, {cut, size - cut}};
    for (const auto& [begin, part] : parts) {
      fragment f = make_heap_fragment(_home, part);
      copy_out(*whole, begin, f.data(), part);
      p->append(std::move(f));
    }
  }
  _tcp->input({.source = peer, .destination = us}, std::move(p), now);
  return poll();
}

std::string script::after(duration d) {
  const instant end = now + d;
  while (_tcp->next_deadline() <= end) {
    now = std::max(now, _tcp->next_deadline());
    _tcp->expire(now);
    transmit();
  }
  now = end;
  return poll();
}

std::string script::poll() {
  CHECK(_tcp->is_valid());
  transmit();
  CHECK(_tcp->is_valid());
  static constexpr const char* names[] = {"established", "readable", "writable", "failed", "closed", "sent"};
  std::string events;
  const auto add = [&](const char* name) { events += (events.empty() ? "" : " ") + std::string(name); };
  for (auto [source, bits] = _events.pop(); source; std::tie(source, bits) = _events.pop()) {
    if (source->kind() == event_kind::listener) {
      add("accept");
      continue;
    }
    for (uint32_t i = 0; i < std::size(names); ++i) {
      if (bits >> i & 1) {
        add(names[i]);
      }
    }
  }
  std::string out = std::exchange(_out, "");
  if (!events.empty()) {
    out += (out.empty() ? "[" : " [") + events + "]";
  }
  return out;
}

void script::transmit() {
  _transmitting = true;
  _tcp->transmit(now);
  _transmitting = false;
  _room = false;
}

four_tuple script::tuple() const {
  return {{us, our_port}, {peer, peer_port}};
}

void script::icmp(uint32_t quoted, errc error, bool hard, uint32_t mtu) {
  _tcp->icmp_error(tuple(), _iss[peer_port] + quoted, error, hard, mtu, now);
  CHECK(_tcp->is_valid());
}

std::string script::send(uint32_t bytes) {
  fragment f[1] = {make_heap_fragment(_home, bytes)};
  for (uint32_t i = 0; i < bytes; ++i) {
    f[0].data()[i] = std::byte(i);
  }
  const auto sent = _tcp->send(c, f, now);
  if (!sent) {
    return "error " + std::to_string(int(sent.error()));
  }
  return (*sent == bytes ? "" : "took " + std::to_string(*sent) + "; ") + poll();
}

std::string script::read(size_t bytes_max) {
  std::array<fragment, 32> out;
  const auto got = _tcp->receive(c, out, bytes_max);
  if (!got) {
    return "error " + std::to_string(int(got.error()));
  }
  size_t bytes = 0;
  for (size_t i = 0; i < *got; ++i) {
    bytes += out[i].size();
    out[i].reset();
  }
  if (bytes == 0) {
    return _tcp->at_eof(c) ? "eof" : "nothing";
  }
  _tcp->consume(c, bytes, now);
  const std::string more = poll();
  return std::to_string(bytes) + " bytes" + (more.empty() ? "" : "; " + more);
}

std::string script::close() {
  _tcp->close(c, now);
  return poll();
}
std::string script::abort() {
  _tcp->abort(c, now);
  return poll();
}
std::string script::release() {
  _tcp->release(std::exchange(c, nullptr), now);
  return poll();
}

result<tcp::path> script::find_path(ip_address, ip_address) noexcept {
  return _config.path;
}

// The first that is free.
result<uint16_t> script::choose_port(ip_address local, endpoint remote, bool (*used)(void*, const four_tuple&) noexcept,
                                     void* context) noexcept {
  for (uint16_t port = our_port; port < our_port + 10; ++port) {
    if (!used(context, {{local, port}, remote})) {
      return port;
    }
  }
  return errc::addrnotavail;
}

packet_ptr script::make_packet(uint32_t room) noexcept {
  packet_ptr p = _slab.make();
  fragment f = make_heap_fragment(_home, room, headroom);
  f.truncate(0);
  p->append(std::move(f));
  return p;
}

void script::send(ip_address source, ip_address destination, packet_ptr p, instant) noexcept {
  const tcp_view v(p->front().data());
  CHECK(std::exchange(_room, false));
  CHECK(source == us && destination == peer && v.source_port() == our_port);
  if (p->offload.checksum == checksum_state::none) {
    CHECK(checksum_good(checksum_packet(*p, 0, p->size(), pseudo_header_sum(us, peer, protocol_tcp, p->size()))));
  }
  if (v.flags() & tcp_syn) {
    _iss.try_emplace(v.destination_port(), v.seq());
  }
  _out += _out.empty() ? "" : "; ";
  for (const auto& f : flag_names) {
    if (v.flags() & f.bit) {
      _out += f.letter;
    }
  }
  // A reset without an ACK field takes its number from the segment that it answers: relative to ours; else it is 0.
  const bool bare = v.flags() & tcp_rst && v.flags() & tcp_ack && v.seq() == 0;
  _out += " " + std::to_string(bare ? 0 : v.seq() - _iss[v.destination_port()]);
  if (const uint32_t length = p->size() - v.header_length()) {
    _out += " +" + std::to_string(length);
  }
  if (v.flags() & tcp_ack) {
    _out += " ack " + std::to_string(v.ack() - peer_iss);
  }
  if (v.destination_port() != usual_peer_port) {
    _out += " @" + std::to_string(v.destination_port());
  }
  if (!(v.flags() & (tcp_rst | tcp_syn)) && _window >= 0 && _window != v.window()) {
    _out += " win " + std::to_string(v.window());
  }
  if (!(v.flags() & tcp_rst)) {
    _window = v.window();
  }
}

}  // namespace solaster::drill

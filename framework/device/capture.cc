#include "framework/device/capture.hh"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "net/packet/heap_buffer.hh"

namespace solaster {
namespace {

uint64_t wall_clock_ns() noexcept {
  const auto t = std::chrono::system_clock::now().time_since_epoch();
  return uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(t).count());
}

}  // namespace

std::FILE* capture_queue::open(const std::string& path) {
  std::FILE* f = std::fopen(path.c_str(), "wb");
  if (!f)
    throw std::runtime_error("--pcap " + path + ": " + std::strerror(errno));
  return f;
}

capture_queue::capture_queue(net::queue& inner, const std::string& path)
    : _inner(inner), _file(open(path)), _writer(*this) {
  _bytes.reserve(65536 + 64);
}

capture_queue::~capture_queue() {
  std::fclose(_file);
}

void capture_queue::write(std::span<const std::byte> bytes) noexcept {
  (void)std::fwrite(bytes.data(), 1, bytes.size(), _file);
}

size_t capture_queue::receive(net::packet_list& into, size_t max) noexcept {
  net::packet_list got;
  const size_t n = _inner.receive(got, max);
  const uint64_t now = n ? wall_clock_ns() : 0;
  for (const net::packet* p = got.front(); p; p = p->next)
    _writer.add(*p, now);
  into.append(std::move(got));
  return n;
}

// One at a time: what the device has taken is no longer there to be looked at, what it has not taken was not sent.
size_t capture_queue::transmit(net::packet_list& from) noexcept {
  size_t taken = 0;
  while (net::packet_ptr p = from.pop_front()) {
    _bytes.resize(p->size());
    net::copy_out(*p, 0, _bytes.data(), p->size());
    net::packet_list one;
    one.push_back(std::move(p));
    if (_inner.transmit(one) == 0) {
      from.push_front(one.pop_front());
      break;
    }
    _writer.add(_bytes, wall_clock_ns());
    ++taken;
  }
  return taken;
}

// Before a sleep there is time to write: the file is complete whenever the program is idle.
bool capture_queue::arm() noexcept {
  std::fflush(_file);
  return _inner.arm();
}

}  // namespace solaster

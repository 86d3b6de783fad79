#include "net/device/pcap.hh"

#include <algorithm>
#include <array>

#include "net/packet/packet.hh"

namespace solaster::net {
namespace {

// All fields are in the writer's byte order; readers tell by the magic.
struct file_header {
  uint32_t magic;
  uint16_t version_major, version_minor;
  int32_t zone;
  uint32_t accuracy, snap_length, link_type;
};
struct record_header {
  uint32_t seconds, nanoseconds, captured, length;
};
static_assert(sizeof(file_header) == 24 && sizeof(record_header) == 16);

}  // namespace

pcap_writer::pcap_writer(sink& to, uint32_t snap_length) noexcept : _to(to), _snap_length(snap_length) {
  const std::array<file_header, 1> h{{{magic_nanoseconds, 2, 4, 0, 0, snap_length, link_type_ethernet}}};
  _to.write(std::as_bytes(std::span(h)));
}

// Returns how many bytes of the frame are to follow.
uint32_t pcap_writer::begin_record(uint32_t length, uint64_t unix_ns) noexcept {
  const uint32_t kept = std::min(length, _snap_length);
  const std::array<record_header, 1> h{
      {{uint32_t(unix_ns / 1'000'000'000), uint32_t(unix_ns % 1'000'000'000), kept, length}}};
  _to.write(std::as_bytes(std::span(h)));
  ++_packets;
  return kept;
}

void pcap_writer::add(const packet& frame, uint64_t unix_ns) noexcept {
  uint32_t left = begin_record(frame.size(), unix_ns);
  for (uint32_t i = 0; i < frame.fragment_count() && left; ++i) {
    const uint32_t n = std::min(frame.frag(i).size(), left);
    _to.write(frame.frag(i).bytes().first(n));
    left -= n;
  }
}

void pcap_writer::add(std::span<const std::byte> frame, uint64_t unix_ns) noexcept {
  _to.write(frame.first(begin_record(uint32_t(frame.size()), unix_ns)));
}

}  // namespace solaster::net

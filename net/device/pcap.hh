// Captures: packets as the bytes of a pcap file, for Wireshark and for replaying a bug.
//
// Sans-IO like the rest: bytes go to a sink, which the host writes to a file. The time is handed in; it is a host's
// wall clock, or the simulator's virtual time.
//
// Spec: the libpcap file format (pcap-savefile(5)), nanosecond variant, link type EN10MB. Units: nanoseconds, bytes.
// Context: shard-local; allocates nothing. Limits: snap_length bytes of a packet are kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace solaster::net {

class packet;

class pcap_writer {
 public:
  // Takes bytes in order.
  class sink {
   public:
    virtual ~sink() = default;
    virtual void write(std::span<const std::byte> bytes) noexcept = 0;
  };

  static constexpr uint32_t magic_nanoseconds = 0xa1b23c4d;
  static constexpr uint32_t link_type_ethernet = 1;

  // Writes the file's header. A packet with unfinished checksums is captured as it is: as on the wire before the
  // device.
  explicit pcap_writer(sink& to, uint32_t snap_length = 65535) noexcept;
  void add(const packet& frame, uint64_t unix_ns) noexcept;
  void add(std::span<const std::byte> frame, uint64_t unix_ns) noexcept;
  uint64_t packets() const noexcept { return _packets; }

 private:
  uint32_t begin_record(uint32_t length, uint64_t unix_ns) noexcept;

  sink& _to;
  uint32_t _snap_length;
  uint64_t _packets = 0;
};

}  // namespace solaster::net

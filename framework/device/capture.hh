// A queue with a capture file beside it (--pcap FILE): every frame that the driver receives or sends is also written
// down.
//
// A queue of its own around the real one, so that a run without a capture pays nothing. Sent frames are as the stack
// hands them to the device: checksums that the device completes are not there yet, and large segments are still whole.
//
// Owns: the file. Borrows: the queue. Context: the queue's shard. Limits: write errors end the capture, not the
// traffic.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "net/device/device.hh"
#include "net/device/pcap.hh"

namespace solaster {

class capture_queue final : public net::queue, private net::pcap_writer::sink {
 public:
  // Throws std::runtime_error with the line that the user sees.
  capture_queue(net::queue& inner, const std::string& path);
  ~capture_queue() override;
  capture_queue(const capture_queue&) = delete;

  size_t receive(net::packet_list& into, size_t max) noexcept override;
  size_t transmit(net::packet_list& from) noexcept override;
  bool starving() const noexcept override { return _inner.starving(); }
  void reap() noexcept override { _inner.reap(); }
  void kick() noexcept override { _inner.kick(); }
  bool arm() noexcept override;
  void disarm() noexcept override { _inner.disarm(); }
  const net::queue_stats& stats() const noexcept override { return _inner.stats(); }

 private:
  static std::FILE* open(const std::string& path);
  void write(std::span<const std::byte> bytes) noexcept override;

  net::queue& _inner;
  std::FILE* _file;
  net::pcap_writer _writer;       // after the file: it writes the header
  std::vector<std::byte> _bytes;  // of the frame that is being sent
};

}  // namespace solaster

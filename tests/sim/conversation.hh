// Two applications that talk over one connection, and check each other: what one side wrote is what the other side
// read.
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/pattern.hh"
#include "tests/sim/tcp_host.hh"

namespace solaster::sim {

struct side_config {
  uint64_t bytes = 0;           // to send, then close
  uint32_t chunk_max = 65536;   // of one send(); sizes are random up to this
  uint32_t read_max = 1 << 20;  // of one receive()
  uint32_t stall_ppm = 0;       // chance, before a read, to stop reading for up to stall_max
  duration stall_max = seconds(2);
  uint64_t abort_after = UINT64_MAX;    // reset once so many bytes are read and written together
  uint64_t release_after = UINT64_MAX;  // let go of the handle, likewise
  bool nodelay = false;
  bool keepalive = false;  // for peers that may be gone without a word that arrives
};

class side {
 public:
  side(tcp_host& host, const side_config& config, uint64_t seed, uint64_t out_key, uint64_t in_key)
      : _host(host), _config(config), _random(seed), _out(out_key), _in(in_key) {}
  ~side();

  void start(net::tcp::connection* c, instant now);
  void on_event(uint32_t bits, instant now);
  // When it wants to be called again without an event.
  instant wake() const { return _wake; }
  void pump(instant now);
  // The handle was let go of, and what was asked is checked.
  bool finished() const { return _finished; }
  bool started() const { return _started; }
  // The connection ended early: by our abort or release, or the peer's, or because it gave up.
  bool cut_short() const { return _cut; }
  const std::string& error() const { return _error; }
  uint64_t written() const { return _written; }
  uint64_t read() const { return _read; }
  bool eof() const { return _eof; }

 private:
  void write(instant now);
  bool read_some(instant now);
  void finish(instant now);
  void wrong(const std::string& what);

  tcp_host& _host;
  side_config _config;
  net::prng _random;
  pattern _out, _in;
  net::tcp::connection* _connection = nullptr;
  uint64_t _written = 0, _read = 0;
  net::fragment _pending;  // taken by send() in part
  bool _closed = false, _eof = false, _finished = false, _started = false, _cut = false;
  instant _wake = instant::never();
  instant _stalled_until{};
  std::string _error;
};

}  // namespace solaster::sim

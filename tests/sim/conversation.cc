#include "tests/sim/conversation.hh"

#include <algorithm>
#include <array>

#include "net/packet/heap_buffer.hh"

namespace solaster::sim {

using namespace net;

side::~side() {
  _pending.reset();
}

void side::start(tcp::connection* c, instant now) {
  _connection = c;
  _started = true;
  if (_config.nodelay) {
    _host.tcp().set_nodelay(c, true);
  }
  if (_config.keepalive) {
    _host.tcp().set_keepalive(c, true, seconds(60), seconds(10), 8);
  }
  pump(now);
}

void side::on_event(uint32_t bits, instant now) {
  if (_finished) {
    return;
  }
  if (bits & connection_failed) {
    _cut = true;
    // What arrived before the failure may still be read.
    while (read_some(now)) {
    }
    finish(now);
    return;
  }
  pump(now);
  if (!_finished && bits & connection_closed) {
    while (read_some(now)) {
    }
    if (!_finished) {
      finish(now);
    }
  }
}

void side::pump(instant now) {
  if (_finished || !_connection) {
    return;
  }
  _wake = instant::never();
  write(now);
  if (_finished) {
    return;
  }
  if (now < _stalled_until) {
    _wake = _stalled_until;
    return;
  }
  for (;;) {
    if (_config.stall_ppm && _host.tcp().readable_bytes(_connection) && _random.chance_ppm(_config.stall_ppm)) {
      _stalled_until = now + nanoseconds(1 + int64_t(_random.below(uint64_t(_config.stall_max.ns))));
      _wake = _stalled_until;
      return;
    }
    if (!read_some(now) || _finished) {
      break;
    }
  }
  const uint64_t moved = _written + _read;
  if (!_finished && moved >= _config.abort_after) {
    _cut = true;
    _host.tcp().abort(_connection, now);
    finish(now);
  } else if (!_finished && moved >= _config.release_after) {
    _cut = true;
    finish(now);
  }
}

void side::write(instant now) {
  tcp::layer& tcp = _host.tcp();
  while (!_closed && (_written < _config.bytes || _pending)) {
    if (!_pending) {
      const uint64_t left = _config.bytes - _written;
      const auto n = uint32_t(std::min<uint64_t>(left, 1 + _random.below(_config.chunk_max)));
      _pending = make_heap_fragment(_host.home(), n);
      if (!_pending) {
        _wake = now + milliseconds(1);
        return;
      }
      _out.fill(_pending.data(), n, _written);
    }
    const uint32_t before = _pending.size();
    fragment one[1] = {std::move(_pending)};
    const auto sent = tcp.send(_connection, one, now);
    if (!sent) {
      _pending = std::move(one[0]);
      if (sent.error() == errc::nomem) {
        _wake = now + milliseconds(1);
      } else if (sent.error() != errc::again) {
        _pending.reset();
        _closed = true;
        _cut = true;
      }
      return;
    }
    _written += *sent;
    if (*sent < before) {
      _pending = std::move(one[0]);
      return;
    }
    if (_written + _read >= std::min(_config.abort_after, _config.release_after)) {
      return;
    }
  }
  if (!_closed) {
    _closed = true;
    tcp.close(_connection, now);
  }
}

bool side::read_some(instant now) {
  if (_eof) {
    return false;
  }
  tcp::layer& tcp = _host.tcp();
  std::array<fragment, 16> out;
  const auto got = tcp.receive(_connection, out, 1 + _random.below(_config.read_max));
  if (!got) {
    return false;
  }
  size_t bytes = 0;
  for (size_t i = 0; i < *got; ++i) {
    if (!_in.check(out[i].data(), out[i].size(), _read)) {
      wrong("bytes differ in the fragment at " + std::to_string(_read));
    }
    _read += out[i].size();
    bytes += out[i].size();
    out[i].reset();
  }
  if (bytes) {
    tcp.consume(_connection, bytes, now);
    return true;
  }
  if (tcp.at_eof(_connection)) {
    _eof = true;
  }
  return false;
}

void side::finish(instant now) {
  _finished = true;
  _pending.reset();
  _host.tcp().release(_connection, now);
  _connection = nullptr;
  _wake = instant::never();
}

void side::wrong(const std::string& what) {
  if (_error.empty()) {
    _error = what;
  }
}

}  // namespace solaster::sim

// Which shard a port belongs to, as the whole process agrees on it when a port is opened: a port that another shard has
// is an error at once, and a port that the stack chooses is one that no other shard has.
//
// How packets then find that shard is the driver's (driver::pin).
//
// Context: any thread; a lock, taken when ports are opened and closed. Limits: net::port_pins::pins_max ports where
// there are several shards; one has nothing to agree on.
#pragma once

#include "framework/reactor/smp.hh"
#include "net/device/port_pins.hh"

#include <mutex>
#include <string>
#include <system_error>
#include <vector>

namespace solaster::native {

enum class transport : uint8_t { tcp = 6, udp = 17 };  // as IP numbers them

class port_claims {
 public:
  // For this shard alone, unless all that claim it say `share`. addrinuse, nobufs.
  result<> claim(transport t, uint16_t port, bool share) noexcept {
    if (smp::count == 1) {
      return {};
    }
    std::lock_guard guard(_lock);
    return _owners.pin(uint8_t(t), port, this_shard_id(), share);
  }
  void release(transport t, uint16_t port) noexcept {
    std::lock_guard guard(_lock);
    _owners.unpin(uint8_t(t), port, this_shard_id());
  }

 private:
  std::mutex _lock;
  net::port_pins _owners;
};

// Opens something on a port and claims that. `open()` gives a result<T>, `port_of(T)` says where it is, `close(T)` ends
// it. Port 0 is the stack's to choose. Throws std::system_error.
template <typename T>
T open_port(port_claims& claims, transport t, uint16_t wanted, bool share, const std::string& what, auto open,
            auto port_of, auto close) {
  struct opened_in_vain {
    decltype(close)& end;
    std::vector<T> all;  // open until the search is over, so that they are not chosen again
    ~opened_in_vain() {
      for (T x : all) {
        end(x);
      }
    }
  } others{close, {}};
  for (;;) {
    others.all.reserve(others.all.size() + 1);
    auto opened = open();
    if (!opened) {
      throw std::system_error(int(opened.error()), std::generic_category(), what);
    }
    auto claimed = claims.claim(t, port_of(*opened), share);
    if (claimed) {
      return *opened;
    }
    others.all.push_back(*opened);
    if (wanted != 0 || claimed.error() != errc::addrinuse) {
      throw std::system_error(int(claimed.error()), std::generic_category(), what);
    }
  }
}

}  // namespace solaster::native

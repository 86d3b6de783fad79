// What the sockets over readiness share.
#pragma once

#include "framework/reactor/backend/backend.hh"

#include <utility>

namespace solaster::posix {

// Has whoever waits to read look again; who waits to write stays.
inline void wake_reader(pollable_fd_state& s) noexcept {
  if (std::exchange(s.waiting_in, false)) {
    s.pollin.set_value();
  }
}

// Holds a flag up for a scope.
class flag_while {
 public:
  explicit flag_while(bool& flag) noexcept : _flag(flag) { flag = true; }
  flag_while(const flag_while&) = delete;
  ~flag_while() { _flag = false; }

 private:
  bool& _flag;
};

}  // namespace solaster::posix

// Who owns a port: a listener, whose connections are established and wait for accept() (half-open ones are kept by
// core, all listeners together: flow.hh), or a reservation. Limits: backlog of the listener;
// tcp_config::syn_backlog_max.
#pragma once

#include <cstdint>

#include "net/host/event_queue.hh"
#include "net/tcp/connection.hh"
#include "net/tcp/list.hh"
#include "net/wire/address.hh"

namespace solaster::net::tcp {

class listener {
 public:
  listener(endpoint local_, uint32_t backlog_) noexcept
      : source(event_kind::listener, this), local(local_), backlog(backlog_) {}

  event_source source;
  endpoint local;              // address any: all of ours
  uint32_t backlog;            // most that wait; set_backlog() may leave more in `queue`
  uint32_t waiting = 0;        // in `queue`
  connection_options options;  // of connections to come
  linked_list<connection, &connection::accept_link> queue;
  list_link<listener> link;

  bool is_valid() const noexcept {
    uint32_t count = 0;
    for (const connection* c = queue.front(); c; c = queue.next(c)) {
      if (c->owner != this || c->held) {
        return false;
      }
      ++count;
    }
    return queue.is_valid() && count == waiting;
  }
};

// A port kept for whoever holds this.
class reservation {
 public:
  reservation(endpoint local_, bool reuse_) noexcept : local(local_), reuse(reuse_) {}

  endpoint local;  // address any: all of ours
  bool reuse;      // others that say so too may have it
  list_link<reservation> link;
};

}  // namespace solaster::net::tcp

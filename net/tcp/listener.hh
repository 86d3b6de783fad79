// A listening port: connections that are established and wait for accept(). Half-open ones are kept by core, all
// listeners together (flow.hh).
// Limits: backlog of the listener; tcp_config::syn_backlog_max.
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
  endpoint local;        // address any: all of ours
  uint32_t backlog;      // most that wait
  uint32_t waiting = 0;  // in `queue`
  linked_list<connection, &connection::accept_link> queue;
  list_link<listener> link;
};

}  // namespace solaster::net::tcp

// The memcached server of one shard: its listener, its connections, its part of the cache.
//
// A key belongs to the shard that its hash names. A connection belongs to the shard that accepted it; commands on keys
// of other shards travel there in batches, a message for each shard and batch, and the answers come back in order.
//
// Owns: cache, connections. Context: shard-local (sharded<server>). Errors: start() fails when the port cannot be had.
#pragma once

#include <boost/intrusive/list.hpp>

#include <memory>
#include <optional>
#include <vector>

#include "apps/memcached/protocol.hh"
#include "apps/memcached/stats.hh"
#include "framework/memory/memory.hh"
#include "framework/reactor/sharded.hh"
#include "framework/reactor/timer.hh"
#include "framework/socket/api.hh"
#include "framework/sync/gate.hh"

namespace solaster::memcached {

class server {
 public:
  server(sharded<server>& all, server_options options, hash_seed seed);
  ~server();

  future<> start();
  future<> stop();

  // Of other shards, by message.
  // Carries out the operations of this shard among `operations`; `foreign`: another shard's session holds them.
  reply execute_batch(std::span<operation> operations, bool foreign);
  void flush_all(int64_t exptime);
  void set_verbosity(unsigned level) { _options.verbosity = level; }
  void reset_stats();
  shard_figures figures();
  std::vector<connection_figures> connections() const;

 private:
  struct connection : boost::intrusive::list_base_hook<> {
    connection(server& s, accept_result a);

    connected_socket fd;
    socket_address peer;
    input_stream<char> in;
    data_sink out;
    session commands;
    std::string rest;  // the beginning of a line whose end has not come
    uint32_t last_used = 0;
  };
  future<> accept_loop();
  void adopt(accept_result accepted);
  future<> live(std::unique_ptr<connection> c, bool full);
  future<> serve(connection& c);
  future<> send(connection& c, reply& out);
  future<> run_batch(connection& c, reply& out);
  future<> run_admin(const admin_request& request, reply& out);
  future<std::string> stats_text(const std::string& argument);
  void tick();

  sharded<server>& _all;
  server_options _options;
  topology _where;
  cache _cache;
  reply _scratch;  // the answer under construction; empty whenever this shard's code suspends
  server_socket _listener;
  gate _gate;
  timer<lowres_clock> _ticker;
  memory::reclaimer _reclaimer;
  boost::intrusive::list<connection, boost::intrusive::constant_time_size<false>> _connections;
  shard_figures _figures;  // the counters of the server itself; the cache's are its own
  int64_t _started;
};

}  // namespace solaster::memcached

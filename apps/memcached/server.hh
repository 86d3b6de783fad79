// The memcached server of one shard: its listener, its connections, its part of the cache.
//
// A key belongs to the shard that its hash names. A connection belongs to the shard that accepted it; commands on keys
// of other shards travel there in batches, a message for each shard and batch, and the answers come back in order.
//
// Connections of a shard share its cache and the memory that answers are put together in, no state: what fails in one
// ends that one. An answer is made in pieces of about reply_max, the next when the stream has taken the one before.
//
// Owns: cache, connections. Context: shard-local (sharded<server>). Errors: start() fails when the port cannot be had.
// Limits: a connection holds line_max of unfinished input, one buffer of what came, and two pieces on their way.
#pragma once

#include <boost/intrusive/list.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/memcached/protocol.hh"
#include "apps/memcached/stats.hh"
#include "framework/memory/memory.hh"
#include "framework/reactor/sharded.hh"
#include "framework/reactor/timer.hh"
#include "framework/socket/api.hh"
#include "framework/sync/gate.hh"

namespace solaster::memcached {

// Places for connections (-c), of all shards together: how they fall on the shards is the network's business. Shards
// meet here when a connection comes or goes, nowhere else.
class seats {
 public:
  explicit seats(uint32_t count) noexcept : _free(count) {}
  // A place that is given back when this dies; false when there was none.
  class holder {
   public:
    explicit holder(seats& s) noexcept;
    holder(const holder&) = delete;
    ~holder();
    explicit operator bool() const noexcept { return _of != nullptr; }

   private:
    seats* _of = nullptr;
  };

 private:
  std::atomic<uint32_t> _free;
};

class server {
 public:
  // `places` outlives the server.
  server(sharded<server>& all, seats& places, server_options options, hash_seed seed);
  ~server();

  future<> start();
  future<> stop();

  // Of other shards, by message.
  // Carries out the operations of this shard among `operations`; `foreign`: another shard's session holds them.
  temporary_buffer<char> execute_batch(std::span<operation> operations, bool foreign);
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
    std::string rest;  // the beginning of a line or key whose end has not come
    seats::holder place;
    uint32_t last_used = 0;
  };
  using buffers = std::vector<temporary_buffer<char>>;
  using answers = std::vector<std::optional<temporary_buffer<char>>>;  // by shard, while they are not sent
  future<> accept_loop();
  void adopt(accept_result accepted);
  future<> live(std::unique_ptr<connection> c);
  future<> serve(connection& c);
  future<> take_step(connection& c, std::string_view input, session::progress& progress, buffers& unsent);
  future<> send(connection& c, buffers out);
  future<> run_batch(connection& c, buffers out);
  future<> ask(session& s, answers& held);
  bool emit(session& s, answers& held, buffers& out);
  future<> run_admin(const admin_request& request, std::string& out);
  future<std::string> stats_text(const std::string& argument);
  void report_binary(const connection& c);
  void tick();
  void take_out(reply& from, buffers& to);
  temporary_buffer<char> copy(std::string_view text);
  bool give_back(size_t bytes) noexcept;
  size_t values_max() noexcept;

  sharded<server>& _all;
  seats& _seats;
  server_options _options;
  topology _where;
  cache _cache;
  reply_storage _storage;  // for the one reply that is being made
  server_socket _listener;
  gate _gate;
  timer<lowres_clock> _ticker;
  memory::reclaimer _reclaimer;
  boost::intrusive::list<connection, boost::intrusive::constant_time_size<false>> _connections;
  shard_figures _figures;     // the counters of the server itself; the cache's are its own
  size_t _memory_wanted = 0;  // not 0: the cache had too little to give; until so much is free, few values are answered
  uint32_t _accept_failed_at = 0;  // the second in which that was last said
  bool _binary_reported = false;
  clock_seconds _started;
};

}  // namespace solaster::memcached

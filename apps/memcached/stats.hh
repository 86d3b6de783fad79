// What the stats command prints: figures of all shards, added up, in memcached's names.
//
// Figures that memcached has and this server has no such thing for (slabs, LRU segments, libevent) are left out rather
// than invented. Units: bytes, seconds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/memcached/cache.hh"

namespace solaster::memcached {

struct server_options {
  uint16_t port = 11211;
  std::string listen = "0.0.0.0";
  uint64_t memory_bytes = 64 << 20;  // all shards together
  uint32_t connections_max = 1024;   // all shards together
  uint32_t item_bytes_max = 1 << 20;
  unsigned verbosity = 0;
  bool evict = true;
};

// One shard's figures, copied out for adding up.
struct shard_figures {
  cache_stats cache;
  uint64_t items = 0, item_bytes = 0, table_bytes = 0, bytes_max = 0;
  uint64_t connections = 0, connections_total = 0, connections_rejected = 0;
  uint64_t bytes_read = 0, bytes_written = 0;
  uint32_t oldest_age = 0;
  shard_figures& operator+=(const shard_figures& o) noexcept;
};

struct connection_figures {
  std::string peer, local;
  uint32_t idle_seconds = 0;
  bool mid_command = false;
};

struct process_figures {
  int64_t uptime = 0, time = 0;
  unsigned threads = 1;
};

std::string general_stats(const shard_figures& sum, const process_figures& process, const server_options& options);
std::string settings_stats(const server_options& options, unsigned threads);
std::string slab_stats(const shard_figures& sum);
std::string item_stats(const shard_figures& sum);
std::string connection_stats(const std::vector<connection_figures>& connections);

}  // namespace solaster::memcached

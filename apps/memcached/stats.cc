#include "apps/memcached/stats.hh"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bit>
#include <iterator>

#include "apps/memcached/protocol.hh"

namespace solaster::memcached {

namespace {

class stat_lines {
 public:
  template <class Value>
  void add(std::string_view name, const Value& value) {
    fmt::format_to(std::back_inserter(_text), "STAT {} {}\r\n", name, value);
  }
  std::string end() { return std::move(_text) + "END\r\n"; }

 private:
  std::string _text;
};

std::string seconds_text(timeval t) {
  return fmt::format("{}.{:06}", t.tv_sec, t.tv_usec);
}

}  // namespace

shard_figures& shard_figures::operator+=(const shard_figures& o) noexcept {
  cache += o.cache;
  items += o.items;
  item_bytes += o.item_bytes;
  table_bytes += o.table_bytes;
  bytes_max += o.bytes_max;
  connections += o.connections;
  connections_total += o.connections_total;
  connections_rejected += o.connections_rejected;
  bytes_read += o.bytes_read;
  bytes_written += o.bytes_written;
  oldest_age = std::max(oldest_age, o.oldest_age);
  return *this;
}

std::string general_stats(const shard_figures& sum, const process_figures& process, const server_options& options) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const cache_stats& c = sum.cache;
  stat_lines s;
  s.add("pid", getpid());
  s.add("uptime", process.uptime);
  s.add("time", process.time);
  s.add("version", version_text);
  s.add("pointer_size", sizeof(void*) * 8);
  s.add("rusage_user", seconds_text(usage.ru_utime));
  s.add("rusage_system", seconds_text(usage.ru_stime));
  s.add("max_connections", options.connections_max);
  s.add("curr_connections", sum.connections);
  s.add("total_connections", sum.connections_total);
  s.add("rejected_connections", sum.connections_rejected);
  s.add("cmd_get", c.get_hits + c.get_misses);
  s.add("cmd_set", c.cmd_set);
  s.add("cmd_flush", c.cmd_flush);
  s.add("cmd_touch", c.cmd_touch);
  s.add("get_hits", c.get_hits);
  s.add("get_misses", c.get_misses);
  s.add("get_expired", c.get_expired);
  s.add("get_flushed", c.get_flushed);
  s.add("delete_misses", c.delete_misses);
  s.add("delete_hits", c.delete_hits);
  s.add("incr_misses", c.incr_misses);
  s.add("incr_hits", c.incr_hits);
  s.add("decr_misses", c.decr_misses);
  s.add("decr_hits", c.decr_hits);
  s.add("cas_misses", c.cas_misses);
  s.add("cas_hits", c.cas_hits);
  s.add("cas_badval", c.cas_badval);
  s.add("touch_hits", c.touch_hits);
  s.add("touch_misses", c.touch_misses);
  s.add("store_no_memory", c.out_of_memory);
  s.add("bytes_read", sum.bytes_read);
  s.add("bytes_written", sum.bytes_written);
  s.add("limit_maxbytes", sum.bytes_max);
  s.add("accepting_conns", sum.connections < options.connections_max ? 1 : 0);
  s.add("threads", process.threads);
  s.add("hash_power_level", std::bit_width(sum.table_bytes / sizeof(item*)) - 1);
  s.add("hash_bytes", sum.table_bytes);
  s.add("bytes", sum.item_bytes);
  s.add("curr_items", sum.items);
  s.add("total_items", c.total_items);
  s.add("expired_unfetched", c.expired_unfetched);
  s.add("evicted_unfetched", c.evicted_unfetched);
  s.add("evictions", c.evictions);
  s.add("reclaimed", c.reclaimed);
  s.add("crawler_reclaimed", c.crawler_reclaimed);
  return s.end();
}

std::string settings_stats(const server_options& o, unsigned threads) {
  stat_lines s;
  s.add("maxbytes", o.memory_bytes);
  s.add("maxconns", o.connections_max);
  s.add("tcpport", o.port);
  s.add("udpport", 0);
  s.add("inter", o.listen);
  s.add("verbosity", o.verbosity);
  s.add("evictions", o.evict ? "on" : "off");
  s.add("domain_socket", "NULL");
  s.add("num_threads", threads);
  s.add("cas_enabled", "yes");
  s.add("binding_protocol", "ascii");
  s.add("auth_enabled_sasl", "no");
  s.add("item_size_max", o.item_bytes_max);
  s.add("maxconns_fast", "yes");
  s.add("flush_enabled", "yes");
  s.add("shutdown_command", "no");
  s.add("ssl_enabled", "no");
  return s.end();
}

std::string slab_stats(const shard_figures& sum) {
  stat_lines s;
  s.add("active_slabs", 0);
  s.add("total_malloced", sum.item_bytes);
  return s.end();
}

std::string item_stats(const shard_figures& sum) {
  stat_lines s;
  if (sum.items) {  // one class: there are no slabs
    s.add("items:1:number", sum.items);
    s.add("items:1:age", sum.oldest_age);
    s.add("items:1:mem_requested", sum.item_bytes);
    s.add("items:1:evicted", sum.cache.evictions);
    s.add("items:1:outofmemory", sum.cache.out_of_memory);
    s.add("items:1:reclaimed", sum.cache.reclaimed);
    s.add("items:1:expired_unfetched", sum.cache.expired_unfetched);
    s.add("items:1:evicted_unfetched", sum.cache.evicted_unfetched);
    s.add("items:1:crawler_reclaimed", sum.cache.crawler_reclaimed);
  }
  return s.end();
}

std::string connection_stats(const std::vector<connection_figures>& connections) {
  stat_lines s;
  unsigned number = 0;
  for (const auto& c : connections) {
    s.add(fmt::format("{}:addr", number), "tcp:" + c.peer);
    s.add(fmt::format("{}:listen_addr", number), "tcp:" + c.local);
    s.add(fmt::format("{}:state", number), c.mid_command ? "conn_nread" : "conn_read");
    s.add(fmt::format("{}:secs_since_last_cmd", number), c.idle_seconds);
    ++number;
  }
  return s.end();
}

}  // namespace solaster::memcached

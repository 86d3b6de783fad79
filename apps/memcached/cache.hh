// One shard's part of the cache: hash table, eviction, expiry, budget. No I/O, no clock: seconds are handed in by
// tick(). Only the steady clock decides what has expired; the wall clock says what an absolute expiry time means when
// it is given.
//
// Eviction is second chance: a get only sets a bit; the hand walks from the oldest item, gives a read one another round
// and evicts the first that was not read. Expired items die when they are met (lazily) and by a crawler that visits
// every bucket about once a minute (actively). The table grows by splitting a few buckets with every insertion, so that
// no request pays for all.
//
// Owns: the items that are linked; what was lent outlives the cache. Units: seconds since `epoch` (the cache's own,
// starts at 2 so that 0 means never), bytes as the allocator counts them. Errors: allocation_failure. Context:
// shard-local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <variant>

#include "apps/memcached/hash.hh"
#include "apps/memcached/item.hh"
#include "framework/memory/temporary_buffer.hh"

namespace solaster::memcached {

struct cache_limits {
  uint64_t bytes_max = 64 << 20;      // items and table, this shard
  uint32_t item_bytes_max = 1 << 20;  // header, key and value of one item (memcached's -I)
  bool evict = true;                  // false: memcached's -M
};

// The host's two clocks: `steady` only goes forward, `wall` may be set.
struct clock_seconds {
  int64_t steady;
  int64_t wall;

  // Their seconds change together, whatever the fractions.
  static constexpr clock_seconds from_ns(int64_t steady_ns, int64_t wall_ns) noexcept {
    constexpr int64_t second = 1'000'000'000;
    return {.steady = steady_ns / second, .wall = steady_ns / second + (wall_ns - steady_ns) / second};
  }
};

enum class allocation_failure { too_large, no_memory };
enum class store_mode { set, add, replace, append, prepend, cas };
enum class store_outcome { stored, not_stored, exists, not_found, no_memory, too_large };
enum class arithmetic_outcome { ok, not_found, not_numeric, no_memory };

struct cache_stats {
  uint64_t get_hits = 0, get_misses = 0, get_expired = 0, get_flushed = 0, cmd_set = 0, cmd_touch = 0, touch_hits = 0,
           touch_misses = 0, delete_hits = 0, delete_misses = 0, incr_hits = 0, incr_misses = 0, decr_hits = 0,
           decr_misses = 0, cas_hits = 0, cas_misses = 0, cas_badval = 0, evictions = 0, evicted_unfetched = 0,
           reclaimed = 0, expired_unfetched = 0, crawler_reclaimed = 0, total_items = 0, cmd_flush = 0,
           out_of_memory = 0;
  cache_stats& operator+=(const cache_stats& o) noexcept;
};

class cache {
 public:
  cache(cache_limits limits, clock_seconds now);
  ~cache();
  cache(const cache&) = delete;
  cache& operator=(const cache&) = delete;

  // Lookup for reading: counts, marks as read. Null: absent, expired or flushed. Borrowed until the next call.
  item* get(std::string_view key, uint64_t hash) noexcept;
  // get() that sets a new expiry as well.
  item* get_and_touch(std::string_view key, uint64_t hash, uint32_t exptime) noexcept;
  bool touch(std::string_view key, uint64_t hash, uint32_t exptime) noexcept;
  bool remove(std::string_view key, uint64_t hash) noexcept;

  // An unlinked item with room for the value, one reference, the caller's. The final \r\n is written.
  std::variant<item*, allocation_failure> allocate(std::string_view key, uint64_t hash, uint32_t flags,
                                                   uint32_t exptime, size_t value_size) noexcept;
  // Takes over the caller's reference of `fresh`, whatever comes of it. On stored, *cas is the new number.
  store_outcome store(item* fresh, store_mode mode, uint64_t cas, uint64_t* new_cas = nullptr) noexcept;
  // Adds (wraps at 2^64) or subtracts (stops at 0) in place; *value is the result.
  arithmetic_outcome arithmetic(std::string_view key, uint64_t hash, bool increment, uint64_t delta,
                                uint64_t* value) noexcept;

  void hold(item* i) noexcept { ++i->refs; }
  void release(item* i) noexcept {
    if (--i->refs == 0)
      destroy(i);
  }

  // The bytes of item::text() from `skip` on, where they lie; the buffer holds the item. Throws bad_alloc when there is
  // no memory for that even after eviction.
  temporary_buffer<char> lend(item* i, size_t skip);

  // flush_all's argument: what is stored is gone now (0 or less), or once so many seconds (or an absolute time) are
  // over. As in memcached a delay of one second is none, and a time long past only takes back an earlier delay.
  void flush(int64_t exptime) noexcept;

  // Once a second: the new time, delayed flushes, a part of the crawl.
  void tick(clock_seconds now) noexcept;
  uint32_t now() const noexcept { return _now; }
  // A protocol expiry time (0 never; negative: in the past; up to 30 days relative; else absolute) in cache seconds.
  uint32_t expiry_from_protocol(int64_t exptime) const noexcept;

  // Frees about `bytes` by eviction (the allocator asks when the shard runs out). Returns the bytes freed.
  size_t shrink(size_t bytes) noexcept;

  uint64_t bytes_used() const noexcept { return _item_bytes; }
  uint64_t item_count() const noexcept { return _item_count; }
  uint64_t table_bytes() const noexcept { return (_bucket_capacity) * sizeof(item*); }
  uint32_t oldest_age() const noexcept { return _oldest ? _now - _oldest->time : 0; }
  const cache_limits& limits() const noexcept { return _limits; }
  cache_stats& stats() noexcept { return _stats; }
  bool is_valid() const noexcept;

 private:
  struct lender;
  struct loan;
  size_t bucket_of(uint64_t hash) const noexcept;
  item* find(std::string_view key, uint64_t hash) noexcept;
  bool is_dead(const item* i) const noexcept;
  void link(item* i) noexcept;
  void unlink(item* i) noexcept;
  void destroy(item* i) noexcept;
  void lru_push_front(item* i) noexcept;
  void lru_remove(item* i) noexcept;
  bool evict_one() noexcept;
  bool make_room(size_t bytes) noexcept;
  void* allocate_or_evict(size_t bytes) noexcept;
  void split_bucket() noexcept;
  void crawl(size_t buckets) noexcept;
  store_outcome concatenate(item* old, item* fresh, bool append, uint64_t* new_cas) noexcept;

  cache_limits _limits;
  // Linear hashing: buckets [0, _bucket_count) are in use; _level_mask + 1 is the power of two at or below the count.
  item** _buckets = nullptr;
  size_t _bucket_capacity = 0;
  size_t _bucket_count = 0;
  size_t _level_mask = 0;
  item* _newest = nullptr;
  item* _oldest = nullptr;
  uint64_t _item_bytes = 0;    // sum of the charges of all items alive, linked or only held
  uint64_t _linked_bytes = 0;  // sum of the charges of the linked ones: what eviction can give
  uint64_t _item_count = 0;    // linked
  uint64_t _last_cas = 0;
  uint64_t _flushed_cas = 0;  // items with cas up to this are gone
  uint32_t _now = 2;
  uint32_t _flush_at = 0;  // 0: no delayed flush
  int64_t _steady_zero;    // steady clock at cache second 0
  int64_t _wall_zero;      // wall clock at cache second 0, as it stood at the last tick
  size_t _crawl_position = 0;
  lender* _lender;
  cache_stats _stats;
};

}  // namespace solaster::memcached

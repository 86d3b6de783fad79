#include "apps/memcached/cache.hh"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "framework/base/check.hh"

namespace solaster::memcached {

namespace {

constexpr size_t buckets_initial = 1 << 12;
constexpr uint32_t relative_expiry_max_s = 60 * 60 * 24 * 30;
constexpr unsigned crawl_period_s = 60;
constexpr size_t memcached_header_bytes = 56;  // of its items, cas number included
constexpr size_t arithmetic_value_max = 22;    // memcached's INCR_MAX_STORAGE_LEN, less the line end
// What the table costs an item on average: a bucket pointer, up to half of the capacity unused.
constexpr uint32_t table_share_bytes = 2 * sizeof(item*);
constexpr size_t eviction_step_bytes = 64 << 10;  // when the allocator, not the budget, is what runs out

void free_item(item* i) noexcept {
  i->~item();
  std::free(i);
}

}  // namespace

// Where a loan comes back to. It lives until the cache is gone and the last loan is back.
struct cache::lender {
  cache* owner;
  size_t loans = 0;
};

struct cache::loan final : deleter::impl {
  lender* from;
  item* what;

  loan(lender* l, item* i) noexcept : from(l), what(i) { ++l->loans; }
  void dispose() noexcept override {
    if (cache* owner = from->owner)
      owner->release(what);
    else if (--what->refs == 0)
      free_item(what);
    if (--from->loans == 0 && !from->owner)
      delete from;
    std::free(this);  // as lend() allocated it; nothing to destroy
  }
};

cache_stats& cache_stats::operator+=(const cache_stats& o) noexcept {
  // SAFETY: the structure is uint64_t members only.
  static_assert(sizeof(cache_stats) % sizeof(uint64_t) == 0);
  auto* to = reinterpret_cast<uint64_t*>(this);
  auto* from = reinterpret_cast<const uint64_t*>(&o);
  for (size_t i = 0; i < sizeof(cache_stats) / sizeof(uint64_t); ++i)
    to[i] += from[i];
  return *this;
}

cache::cache(cache_limits limits, clock_seconds now)
    : _limits(limits), _steady_zero(now.steady - _now), _wall_zero(now.wall - _now), _lender(new lender{this}) {
  _buckets = static_cast<item**>(std::calloc(buckets_initial, sizeof(item*)));
  if (!_buckets) {
    delete _lender;
    throw std::bad_alloc();
  }
  _bucket_capacity = _bucket_count = buckets_initial;
  _level_mask = buckets_initial - 1;
}

cache::~cache() {
  while (_oldest)
    unlink(_oldest);
  std::free(_buckets);
  _lender->owner = nullptr;
  if (_lender->loans == 0)
    delete _lender;
}

size_t cache::bucket_of(uint64_t hash) const noexcept {
  size_t b = hash & (_level_mask * 2 + 1);
  return b < _bucket_count ? b : hash & _level_mask;
}

bool cache::is_dead(const item* i) const noexcept {
  return (i->exptime != 0 && i->exptime <= _now) || i->cas <= _flushed_cas;
}

// The living item of that key; a dead one that is met is unlinked.
item* cache::find(std::string_view key, uint64_t hash) noexcept {
  for (item* i = _buckets[bucket_of(hash)]; i; i = i->hash_next) {
    if (i->hash != hash || i->key_size != key.size() || !same_bytes(i->text(), key.data(), key.size()))
      continue;
    if (is_dead(i)) [[unlikely]] {
      if (i->cas <= _flushed_cas)
        ++_stats.get_flushed;
      else
        ++_stats.get_expired;
      if (!i->fetched)
        ++_stats.expired_unfetched;
      ++_stats.reclaimed;
      unlink(i);
      return nullptr;
    }
    return i;
  }
  return nullptr;
}

item* cache::get(std::string_view key, uint64_t hash) noexcept {
  item* i = find(key, hash);
  if (!i) {
    ++_stats.get_misses;
    return nullptr;
  }
  ++_stats.get_hits;
  i->referenced = true;
  i->fetched = true;
  i->time = _now;
  return i;
}

item* cache::get_and_touch(std::string_view key, uint64_t hash, uint32_t exptime) noexcept {
  item* i = get(key, hash);
  ++_stats.cmd_touch;
  if (!i) {
    ++_stats.touch_misses;
    return nullptr;
  }
  ++_stats.touch_hits;
  i->exptime = exptime;
  return i;
}

bool cache::touch(std::string_view key, uint64_t hash, uint32_t exptime) noexcept {
  ++_stats.cmd_touch;
  item* i = find(key, hash);
  if (!i) {
    ++_stats.touch_misses;
    return false;
  }
  ++_stats.touch_hits;
  i->exptime = exptime;
  i->referenced = true;
  return true;
}

bool cache::remove(std::string_view key, uint64_t hash) noexcept {
  item* i = find(key, hash);
  if (!i) {
    ++_stats.delete_misses;
    return false;
  }
  ++_stats.delete_hits;
  unlink(i);
  return true;
}

std::variant<item*, allocation_failure> cache::allocate(std::string_view key, uint64_t hash, uint32_t flags,
                                                        uint32_t exptime, size_t value_size) noexcept {
  DCHECK(key.size() <= key_length_max);
  char suffix[item::suffix_max];
  if (value_size > _limits.item_bytes_max)
    return allocation_failure::too_large;
  // Memcached's own size of it counts: what one stores, so does the other.
  if (memcached_header_bytes + key.size() + 1 + value_size + 2 + (flags ? 4 : 0) > _limits.item_bytes_max)
    return allocation_failure::too_large;
  unsigned suffix_size = item::write_suffix(suffix, flags, uint32_t(value_size));
  size_t bytes = sizeof(item) + key.size() + suffix_size + value_size + 2;

  void* raw = make_room(bytes + table_share_bytes) ? allocate_or_evict(bytes) : nullptr;
  uint32_t charge = raw ? uint32_t(malloc_usable_size(raw)) + table_share_bytes : 0;
  if (!raw || !make_room(charge)) {  // the allocator rounds up
    std::free(raw);
    ++_stats.out_of_memory;
    return allocation_failure::no_memory;
  }
  item* i = new (raw) item;
  i->charge = charge;
  i->hash = hash;
  i->flags = flags;
  i->exptime = exptime;
  i->time = _now;
  i->key_size = uint8_t(key.size());
  i->suffix_size = uint8_t(suffix_size);
  i->value_size = uint32_t(value_size);
  std::memcpy(i->text(), key.data(), key.size());
  std::memcpy(i->text() + key.size(), suffix, suffix_size);
  std::memcpy(i->value() + value_size, "\r\n", 2);
  _item_bytes += i->charge;
  return i;
}

// Evicts until the budget has `bytes` left. Nothing is evicted when that cannot be: what is lent does not come back by
// it.
bool cache::make_room(size_t bytes) noexcept {
  if (_item_bytes - _linked_bytes + bytes > _limits.bytes_max)
    return false;
  while (_item_bytes + bytes > _limits.bytes_max) {
    if (!evict_one())
      return false;
  }
  return true;
}

// The shard may run out before the budget does, or have no run of pages so long.
void* cache::allocate_or_evict(size_t bytes) noexcept {
  void* raw = std::malloc(bytes);
  while (!raw && shrink(std::max(bytes, eviction_step_bytes)) != 0)
    raw = std::malloc(bytes);
  return raw;
}

void cache::destroy(item* i) noexcept {
  _item_bytes -= i->charge;
  free_item(i);
}

temporary_buffer<char> cache::lend(item* i, size_t skip) {
  hold(i);  // eviction below may unlink it
  auto* l = static_cast<loan*>(allocate_or_evict(sizeof(loan)));
  if (!l) {
    release(i);
    throw std::bad_alloc();
  }
  return temporary_buffer<char>(i->text() + skip, i->text_size() - skip, deleter(new (l) loan(_lender, i)));
}

store_outcome cache::store(item* fresh, store_mode mode, uint64_t cas, uint64_t* new_cas) noexcept {
  ++_stats.cmd_set;
  item* old = find(fresh->key(), fresh->hash);
  auto refuse = [&](store_outcome outcome) {
    release(fresh);
    return outcome;
  };
  switch (mode) {
    case store_mode::set:
      break;
    case store_mode::add:
      if (old) {
        old->referenced = true;
        return refuse(store_outcome::not_stored);
      }
      break;
    case store_mode::replace:
      if (!old)
        return refuse(store_outcome::not_stored);
      break;
    case store_mode::append:
    case store_mode::prepend:
      if (!old)
        return refuse(store_outcome::not_stored);
      return concatenate(old, fresh, mode == store_mode::append, new_cas);
    case store_mode::cas:
      if (!old) {
        ++_stats.cas_misses;
        return refuse(store_outcome::not_found);
      }
      if (old->cas != cas) {
        ++_stats.cas_badval;
        return refuse(store_outcome::exists);
      }
      ++_stats.cas_hits;
      break;
  }
  if (old)
    unlink(old);
  link(fresh);
  if (new_cas)
    *new_cas = fresh->cas;
  return store_outcome::stored;
}

// `fresh` carries only the bytes to add: flags and expiry stay the old item's.
store_outcome cache::concatenate(item* old, item* fresh, bool append, uint64_t* new_cas) noexcept {
  hold(old);  // allocating may evict it
  auto made = allocate(old->key(), old->hash, old->flags, old->exptime, size_t(old->value_size) + fresh->value_size);
  store_outcome outcome = store_outcome::stored;
  if (auto* failure = std::get_if<allocation_failure>(&made)) {
    outcome = *failure == allocation_failure::too_large ? store_outcome::too_large : store_outcome::no_memory;
  } else {
    item* joined = std::get<item*>(made);
    const item* first = append ? old : fresh;
    const item* second = append ? fresh : old;
    std::memcpy(joined->value(), first->value_view().data(), first->value_size);
    std::memcpy(joined->value() + first->value_size, second->value_view().data(), second->value_size);
    if (old->linked)
      unlink(old);
    link(joined);
    if (new_cas)
      *new_cas = joined->cas;
  }
  release(old);
  release(fresh);
  return outcome;
}

arithmetic_outcome cache::arithmetic(std::string_view key, uint64_t hash, bool increment, uint64_t delta,
                                     uint64_t* value) noexcept {
  item* i = find(key, hash);
  if (!i) {
    ++(increment ? _stats.incr_misses : _stats.decr_misses);
    return arithmetic_outcome::not_found;
  }
  // An earlier decr may have left padding behind the number.
  auto old = i->value_size <= arithmetic_value_max ? parse_number<uint64_t>(i->value_view()) : std::nullopt;
  if (!old)
    return arithmetic_outcome::not_numeric;
  *value = increment ? *old + delta : (*old > delta ? *old - delta : 0);
  ++(increment ? _stats.incr_hits : _stats.decr_hits);

  char digits[decimal_digits_max];
  size_t size = size_t(write_number(digits, *value) - digits);
  if (size <= i->value_size && i->refs == 1) {
    // As memcached does: the length stays, blanks fill it up.
    std::memcpy(i->value(), digits, size);
    std::memset(i->value() + size, ' ', i->value_size - size);
    i->cas = ++_last_cas;
    i->referenced = true;
    return arithmetic_outcome::ok;
  }
  hold(i);
  auto made = allocate(i->key(), i->hash, i->flags, i->exptime, size);
  if (auto* longer = std::get_if<item*>(&made)) {
    std::memcpy((*longer)->value(), digits, size);
    if (i->linked)
      unlink(i);
    link(*longer);
    release(i);
    return arithmetic_outcome::ok;
  }
  release(i);
  return arithmetic_outcome::no_memory;
}

void cache::link(item* i) noexcept {
  i->cas = ++_last_cas;
  i->time = _now;
  i->linked = true;
  item*& head = _buckets[bucket_of(i->hash)];
  i->hash_next = head;
  head = i;
  lru_push_front(i);
  _linked_bytes += i->charge;
  ++_item_count;
  ++_stats.total_items;
  if (_item_count > _bucket_count)
    split_bucket();
}

void cache::unlink(item* i) noexcept {
  item** p = &_buckets[bucket_of(i->hash)];
  while (*p != i)
    p = &(*p)->hash_next;
  *p = i->hash_next;
  lru_remove(i);
  i->linked = false;
  _linked_bytes -= i->charge;
  --_item_count;
  release(i);
}

void cache::lru_push_front(item* i) noexcept {
  i->lru_prev = nullptr;
  i->lru_next = _newest;
  if (_newest)
    _newest->lru_prev = i;
  else
    _oldest = i;
  _newest = i;
}

void cache::lru_remove(item* i) noexcept {
  if (i->lru_prev)
    i->lru_prev->lru_next = i->lru_next;
  else
    _newest = i->lru_next;
  if (i->lru_next)
    i->lru_next->lru_prev = i->lru_prev;
  else
    _oldest = i->lru_prev;
}

bool cache::evict_one() noexcept {
  // Ends: each round clears a bit or returns; with eviction off only the dead may go.
  for (uint64_t left = _item_count; _oldest; --left) {
    item* i = _oldest;
    bool dead = is_dead(i);
    if (!dead && !_limits.evict)
      return false;
    if (!dead && i->referenced && left > 0) {
      i->referenced = false;
      lru_remove(i);
      lru_push_front(i);
      continue;
    }
    if (dead) {
      ++_stats.reclaimed;
    } else {
      ++_stats.evictions;
      if (!i->fetched)
        ++_stats.evicted_unfetched;
    }
    unlink(i);
    return true;
  }
  return false;
}

size_t cache::shrink(size_t bytes) noexcept {
  uint64_t before = _item_bytes;
  while (before - _item_bytes < bytes && evict_one()) {
  }
  return before - _item_bytes;
}

// One step of linear hashing: bucket (count - level size) divides between itself and the new last bucket.
void cache::split_bucket() noexcept {
  if (_bucket_count == _bucket_capacity) {
    size_t capacity = _bucket_capacity * 2;
    auto* grown = static_cast<item**>(std::realloc(_buckets, capacity * sizeof(item*)));
    if (!grown)
      return;  // longer chains, nothing worse
    std::fill(grown + _bucket_capacity, grown + capacity, nullptr);
    _buckets = grown;
    _bucket_capacity = capacity;
  }
  if (_bucket_count == (_level_mask + 1) * 2)
    _level_mask = _level_mask * 2 + 1;
  size_t from = _bucket_count - (_level_mask + 1);
  size_t to = _bucket_count++;
  item* i = _buckets[from];
  _buckets[from] = nullptr;
  while (i) {
    item* next = i->hash_next;
    item*& head = _buckets[bucket_of(i->hash) == to ? to : from];
    i->hash_next = head;
    head = i;
    i = next;
  }
}

void cache::flush(int64_t exptime) noexcept {
  ++_stats.cmd_flush;
  _flush_at = 0;
  if (exptime > 0) {
    uint32_t when = expiry_from_protocol(exptime);
    if (when <= 1)
      return;
    _flush_at = when - 1;
  }
  if (_flush_at <= _now) {
    _flush_at = 0;
    _flushed_cas = _last_cas;
  }
}

void cache::tick(clock_seconds now) noexcept {
  int64_t seconds = now.steady - _steady_zero;
  if (seconds > int64_t(_now))
    _now = uint32_t(std::min<int64_t>(seconds, UINT32_MAX - 1));
  _wall_zero = now.wall - _now;
  if (_flush_at != 0 && _flush_at <= _now) {
    _flush_at = 0;
    _flushed_cas = _last_cas;
  }
  crawl(_bucket_count / crawl_period_s + 1);
}

void cache::crawl(size_t buckets) noexcept {
  for (; buckets > 0; --buckets) {
    if (_crawl_position >= _bucket_count)
      _crawl_position = 0;
    item* i = _buckets[_crawl_position++];
    while (i) {
      item* next = i->hash_next;
      if (is_dead(i)) {
        ++_stats.crawler_reclaimed;
        if (!i->fetched)
          ++_stats.expired_unfetched;
        unlink(i);
      }
      i = next;
    }
  }
}

uint32_t cache::expiry_from_protocol(int64_t exptime) const noexcept {
  if (exptime == 0)
    return 0;
  if (exptime < 0)
    return 1;  // long past: _now starts at 2
  if (exptime <= relative_expiry_max_s)
    return uint32_t(_now + exptime);
  int64_t when = exptime - _wall_zero;
  return when <= 1 ? 1 : uint32_t(std::min<int64_t>(when, UINT32_MAX - 1));
}

bool cache::is_valid() const noexcept {
  uint64_t chained = 0, listed = 0, bytes = 0;
  for (size_t b = 0; b < _bucket_count; ++b) {
    for (item* i = _buckets[b]; i; i = i->hash_next) {
      ++chained;
      if (!i->linked || i->refs == 0 || bucket_of(i->hash) != b)
        return false;
    }
  }
  for (const item* i = _newest; i; i = i->lru_next) {
    ++listed;
    bytes += i->charge;
    if (i->lru_next ? i->lru_next->lru_prev != i : _oldest != i)
      return false;
  }
  return chained == _item_count && listed == _item_count && bytes == _linked_bytes && bytes <= _item_bytes;
}

}  // namespace solaster::memcached

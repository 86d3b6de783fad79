// One stored object, laid out as it is sent.
//
// Behind the header lie, without a gap, `key`, ` flags bytes\r\n`, the value and `\r\n`: the answer to a get is "VALUE
// " and one run of bytes. An item is counted: the cache holds one reference while it is linked, an answer on its way
// holds one.
//
// Owns: nothing outside its own allocation. Context: the shard whose cache made it.
// Limits: key 250 bytes (memcached's KEY_MAX_LENGTH), value below 2 GiB.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "apps/memcached/number.hh"

namespace solaster::memcached {

inline constexpr size_t key_length_max = 250;

struct item {
  item* hash_next = nullptr;
  item* lru_prev = nullptr;  // towards the most recent
  item* lru_next = nullptr;  // towards the next to be evicted
  uint64_t hash = 0;
  uint64_t cas = 0;     // unique among this shard's items; grows with every change
  uint32_t charge = 0;  // bytes that this item takes from the budget
  uint32_t refs = 1;
  uint32_t flags = 0;
  uint32_t exptime = 0;     // in the cache's seconds; 0: never
  uint32_t time = 0;        // last access, in the cache's seconds
  uint32_t value_size = 0;  // without the final \r\n
  uint8_t key_size = 0;
  uint8_t suffix_size = 0;  // " flags bytes\r\n"
  bool linked = false;
  bool fetched = false;     // read since it was stored
  bool referenced = false;  // read since the eviction hand last passed

  char* text() noexcept { return reinterpret_cast<char*>(this + 1); }  // SAFETY: allocated behind the header
  const char* text() const noexcept { return reinterpret_cast<const char*>(this + 1); }
  size_t text_size() const noexcept { return size_t(key_size) + suffix_size + value_size + 2; }
  std::string_view key() const noexcept { return {text(), key_size}; }
  char* value() noexcept { return text() + key_size + suffix_size; }
  std::string_view value_view() const noexcept { return {text() + key_size + suffix_size, value_size}; }
  // Key, flags and size as in a VALUE line, without the \r\n: where a cas number goes behind.
  std::string_view head() const noexcept { return {text(), size_t(key_size) + suffix_size - 2}; }

  // Largest suffix: " 4294967295 2147483647\r\n".
  static constexpr size_t suffix_max = 1 + 10 + 1 + 10 + 2;
  static unsigned write_suffix(char* out, uint32_t flags, uint32_t value_size) noexcept {
    char* p = out;
    *p++ = ' ';
    p = write_number(p, flags);
    *p++ = ' ';
    p = write_number(p, value_size);
    *p++ = '\r';
    *p++ = '\n';
    return unsigned(p - out);
  }
};

}  // namespace solaster::memcached

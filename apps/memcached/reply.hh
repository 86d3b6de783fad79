// The bytes of answers as they gather, up to a bound: small ones copied into one run of text, large items by reference.
//
// The text lies in memory that the shard lends out (`reply_storage`), but what the reply is, its size and its
// references, lives and dies with this object. So a reply that is given up, by an exception too, leaves nothing for the
// next; and it does not live across a suspension, where another reply may use the storage.
//
// Owns: its references. Borrows: the storage. Context: one shard, no suspension. Errors: bad_alloc from append_value,
// take and flatten, after which the reply is as it was. Limits: whoever fills it stops when is_full(); until then there
// is room for one more answer.
#pragma once

#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/memcached/cache.hh"
#include "framework/base/check.hh"
#include "framework/memory/temporary_buffer.hh"

namespace solaster::memcached {

inline constexpr size_t reply_max = 32 << 10;  // from here on it is full; the last answer may pass it
// Items of at least this size are sent from where they lie; below, a copy is cheaper than a reference.
inline constexpr size_t reference_min = 2 << 10;
// The most text that one answer takes: a VALUE line with its number, a value below reference_min, END.
inline constexpr size_t answer_text_max = reference_min + 512;
static_assert(answer_text_max >=
              6 + key_length_max + item::suffix_max + 1 + decimal_digits_max + 2 + reference_min + 5);

struct reply_storage {
  char text[reply_max + answer_text_max];
  bool in_use = false;  // in debug builds: by a reply that is alive
};

class reply {
 public:
  explicit reply(reply_storage& storage) noexcept : _storage(storage) { DCHECK(!std::exchange(_storage.in_use, true)); }
  reply(const reply&) = delete;
  ~reply() { DCHECK(std::exchange(_storage.in_use, false)); }

  void append(std::string_view text) noexcept {
    if (text.empty())
      return;
    std::memcpy(room_for(text.size()), text.data(), text.size());
    _text_size += text.size();
  }
  void append_number(uint64_t n) noexcept { commit(write_number(room_for(decimal_digits_max), n)); }
  // A VALUE line with its data, of an item of `owner`.
  void append_value(cache& owner, item* i, bool with_cas) {
    size_t text_size = i->text_size();
    if (text_size >= reference_min) [[unlikely]]
      return append_reference(owner, i, with_cas);
    char* p = room_for(6 + 1 + decimal_digits_max + text_size);
    std::memcpy(p, "VALUE ", 6);
    p += 6;
    size_t skip = 0;
    if (with_cas) {
      p = write_cas_head(p, i);
      skip = i->head().size();
    }
    std::memcpy(p, i->text() + skip, text_size - skip);
    commit(p + text_size - skip);
  }
  // Bytes that stay where they are.
  void insert(temporary_buffer<char> bytes) {
    size_t n = bytes.size();
    _references.push_back({_text_size, std::move(bytes)});
    _referenced += n;
  }

  bool is_full() const noexcept { return size() >= reply_max; }
  size_t size() const noexcept { return _text_size + _referenced; }
  bool empty() const noexcept { return size() == 0; }
  bool has_references() const noexcept { return !_references.empty(); }
  std::string_view text() const noexcept { return {_storage.text, _text_size}; }

  // Moves everything, in order, behind `out`, text in buffers of just its size. The reply is empty then.
  void take(std::vector<temporary_buffer<char>>& out);
  // A copy of everything in one piece.
  temporary_buffer<char> flatten() const;

 private:
  struct reference {
    size_t at;  // position in the text where the bytes go
    temporary_buffer<char> bytes;
  };

  void append_reference(cache& owner, item* i, bool with_cas);
  static char* write_cas_head(char* p, const item* i) noexcept {
    std::string_view head = i->head();
    std::memcpy(p, head.data(), head.size());
    p += head.size();
    *p++ = ' ';
    return write_number(p, i->cas);
  }
  char* room_for(size_t n) noexcept {
    CHECK(n <= sizeof(_storage.text) - _text_size);
    return _storage.text + _text_size;
  }
  void commit(char* end) noexcept { _text_size = size_t(end - _storage.text); }

  reply_storage& _storage;
  size_t _text_size = 0;
  size_t _referenced = 0;
  std::vector<reference> _references;
};

}  // namespace solaster::memcached

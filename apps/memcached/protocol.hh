// memcached's classic text protocol as a state machine without I/O.
//
// A session is fed the bytes of one connection, carries commands out on the shard's own cache as they come, and appends
// the answers. What it cannot do alone it hands to its host: commands on keys of other shards gather in a batch (in
// order, together with everything behind them), and commands that concern all shards (flush_all, stats, verbosity) stop
// the feed.
//
// Spec: memcached's doc/protocol.txt, "classic" commands; where it is silent, what memcached 1.6.18 answers.
// Owns: an item whose value is still arriving. Context: shard-local, no suspension.
// Limits: line_max, batch_max, tokens_max; a line longer than line_max that is no get ends the connection, as in
// memcached.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/memcached/cache.hh"
#include "apps/memcached/reply.hh"

namespace solaster::memcached {

inline constexpr std::string_view version_text = "1.6.18-solaster";  // the release whose behaviour is followed
inline constexpr size_t line_max = 2048;
inline constexpr size_t get_line_max = 64 << 10;
inline constexpr size_t batch_max = 256;
inline constexpr size_t batch_reply_max = 256 << 10;  // of one shard in one round
inline constexpr size_t tokens_max = 8;               // no command but get takes more

struct topology {
  unsigned shard = 0;
  unsigned shards = 1;
  hash_seed seed;
};

// One command on one key, to be carried out by the key's shard.
struct operation {
  enum class kind : uint8_t { get, get_and_touch, touch, store, remove, arithmetic, literal } what = kind::literal;
  store_mode mode = store_mode::set;
  bool noreply = false;
  bool with_cas = false;
  bool increment = false;
  unsigned shard = 0;
  std::string_view key{};  // in the input that was fed, or in `value`
  uint64_t hash = 0;
  int64_t exptime = 0;      // as in the protocol
  uint64_t number = 0;      // cas or delta
  item* value = nullptr;    // store: an item of the session's own cache, one reference
  std::string_view text{};  // literal: a string constant
  // What the shard answered: a range of its reply; then, at home, the text itself.
  bool done = false;
  bool answered = false;
  size_t reply_begin = 0, reply_end = 0;
  std::string_view answer{};
};

// Carries `op` out on `c` (the cache of op.shard). `value_is_foreign`: op.value belongs to another shard's cache:
// copied, not taken.
void execute(cache& c, const operation& op, reply& out, bool value_is_foreign);
// Carries out, in order, those of `operations` that are `shard`'s and not done, until the answer has grown to
// batch_reply_max: the rest is for another round.
void execute_round(cache& c, unsigned shard, std::span<operation> operations, reply& out, bool values_are_foreign);

// What concerns every shard.
struct admin_request {
  enum class kind : uint8_t { none, flush_all, stats, verbosity } what = kind::none;
  bool noreply = false;
  int64_t exptime = 0;
  unsigned level = 0;
  std::string argument{};  // of stats
};

class session {
 public:
  enum class verdict {
    more,   // everything whole was consumed
    pause,  // the answer has grown: send it, feed the rest
    batch,  // run batch(), then feed the rest
    admin,  // run admin(), append its answer, feed the rest
    close,  // send what there is and close
  };
  struct progress {
    size_t consumed;
    verdict why;
  };

  session(cache& local, const topology& where) : _cache(local), _where(where) {}
  ~session();
  session(const session&) = delete;

  // `input` must stay where it is until the batch it led to has been run.
  progress feed(std::string_view input, reply& out);
  std::span<operation> batch() noexcept { return _batch; }
  // A round's answer of `shard` has come; `text` stays where it is until holds_answer(shard) is false.
  void take_answer(unsigned shard, std::string_view text);
  // Appends, in order, the answers up to the first operation that is not done. True: that was the whole batch.
  bool emit_answers(reply& out);
  // Whether an answer of `shard` was taken that emit_answers has not appended yet.
  bool holds_answer(unsigned shard) const noexcept;
  const admin_request& admin() const noexcept { return _admin; }
  // Whether a command is only half here (its line or its value).
  bool mid_value() const noexcept { return _pending_value != nullptr || _swallow > 0; }

 private:
  using tokens = std::array<std::string_view, tokens_max>;
  void command(std::string_view line, reply& out);
  void simple_get(std::string_view key, reply& out);
  void retrieve(std::string_view keys, bool with_cas, std::optional<int64_t> touch, reply& out);
  void get_and_touch(std::string_view rest, bool with_cas, reply& out);
  void update(const tokens& t, size_t count, store_mode mode, reply& out);
  void remove(const tokens& t, size_t count, reply& out);
  void arithmetic(const tokens& t, size_t count, bool increment, reply& out);
  void touch(const tokens& t, size_t count, reply& out);
  void flush_all(const tokens& t, size_t count, reply& out);
  void verbosity(const tokens& t, size_t count, reply& out);
  void stats(const tokens& t, size_t count);
  size_t take_value(std::string_view input, reply& out);
  void value_complete(reply& out);
  void run(operation op, reply& out);
  void say(std::string_view text, bool noreply, reply& out);
  unsigned shard_of(uint64_t hash) const noexcept {
    return _where.shards == 1 ? 0 : shard_of_hash(hash, _where.shards);
  }
  bool is_local(uint64_t hash) const noexcept { return _where.shards == 1 || shard_of(hash) == _where.shard; }

  cache& _cache;
  const topology& _where;
  std::vector<operation> _batch;
  size_t _emitted = 0;  // operations of the batch whose answers were appended
  admin_request _admin;
  bool _closing = false;
  // A store whose value is arriving: value bytes and the two of the line end.
  item* _pending_value = nullptr;
  operation _pending;
  size_t _pending_filled = 0;
  char _pending_end[2] = {};
  uint64_t _swallow = 0;  // bytes of a refused value still to be skipped
};

}  // namespace solaster::memcached

// memcached's classic text protocol as a state machine without I/O.
//
// A session is fed the bytes of one connection, carries commands out on the shard's own cache as they come, and appends
// the answers. What it cannot do alone it hands to its host: commands on keys of other shards gather in a batch (in
// order, together with everything behind them), and commands that concern all shards (flush_all, stats, verbosity) stop
// the feed. A reply is bounded: the feed stops when it is full, in the middle of a get line too, and goes on with what
// follows once the reply was sent.
//
// A line of up to line_max bytes is looked at when it is whole. The keys of a longer get are answered as they come; an
// error in it then stands behind the values before it.
//
// Spec: memcached's doc/protocol.txt, "classic" commands; where it is silent, what memcached 1.6.18 answers.
// Owns: an item whose value is still arriving, and those of the batch. Context: shard-local, no suspension.
// Errors: bad_alloc from feed() and emit_answers(): the reply holds the answers before it; the session is to be given
// up. Limits: line_max, batch_max, tokens_max; a line longer than line_max that is no get ends the connection, as in
// memcached. A get line has no limit.
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
inline constexpr size_t batch_max = 256;
inline constexpr size_t tokens_max = 8;  // no command but get takes more

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
// copied, not taken. Only a get can throw (bad_alloc), and has changed nothing then.
void execute(cache& c, const operation& op, reply& out, bool value_is_foreign);
// Carries out, in order, those of `operations` that are `shard`'s and not done, until the reply is full: the rest is
// for another round.
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
    more,     // everything whole was consumed
    pause,    // the reply is full: send it, feed the rest
    batch,    // run batch(), then feed the rest
    admin,    // run batch() if there is one, then admin(), append its answer, feed the rest
    close,    // run batch() if there is one, send what there is and close
    binary,   // the same, of a client that speaks the binary protocol: it was told
    give_up,  // the same, and say that memory ran out; the host makes this of a bad_alloc
  };
  struct progress {
    size_t consumed;
    verdict why;
  };

  session(cache& local, const topology& where) : _cache(local), _where(where) {}
  ~session();
  session(const session&) = delete;

  // `input` must stay where it is until the batch it led to has been run. `out` is not full. What is not consumed, less
  // than line_max bytes when the verdict is `more`, is fed again in front of what comes. Once `out` holds
  // `values_max` bytes, an error stands in place of further values: for a host that is short of memory.
  progress feed(std::string_view input, reply& out, size_t values_max = unlimited);
  static constexpr size_t unlimited = SIZE_MAX;
  std::span<operation> batch() noexcept { return _batch; }
  // A round's answer of `shard` has come; `text` stays where it is until holds_answer(shard) is false.
  void take_answer(unsigned shard, std::string_view text);
  // Appends, in order, the answers up to the first operation that is not done, or until the reply is full; large ones
  // by a share of answers[shard], the buffer that take_answer saw. True: that was the whole batch.
  bool emit_answers(reply& out, std::span<std::optional<temporary_buffer<char>>> answers);
  // Whether an answer of `shard` was taken that emit_answers has not appended yet.
  bool holds_answer(unsigned shard) const noexcept;
  const admin_request& admin() const noexcept { return _admin; }
  // Whether a command's line was seen and the rest of it is still to come.
  bool is_mid_command() const noexcept { return _inside > inside::whole_connection; }

 private:
  // What the next byte belongs to, when it does not begin a command.
  enum class inside : uint8_t {
    nothing,
    whole_connection,  // nothing has come yet
    value,             // of a store
    refused_value,     // passed over
    keys,              // of a get
    refused_line,      // passed over, up to its end
  };
  using tokens = std::array<std::string_view, tokens_max>;
  size_t go_on(std::string_view input, reply& out);
  void command(std::string_view line, reply& out);
  bool begin_long_line(std::string_view input) noexcept;
  bool refuse_binary(std::string_view request, reply& out);
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
  size_t take_keys(std::string_view input, reply& out);
  void refuse_line(std::string_view text, bool at_its_end, reply& out);
  void value_complete(reply& out);
  void run(const operation& op, reply& out);
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
  inside _inside = inside::whole_connection;
  bool _closing = false;
  size_t _values_max = unlimited;
  // keys: what is asked of them, and where in the input they begin.
  operation _retrieval;
  bool _any_key = false;
  const char* _keys = nullptr;
  // value: the store, how many of its bytes and of the two of the line end have come.
  item* _pending_value = nullptr;
  operation _pending;
  size_t _pending_filled = 0;
  char _pending_end[2] = {};
  uint64_t _swallow = 0;  // refused_value: bytes still to come
};

}  // namespace solaster::memcached

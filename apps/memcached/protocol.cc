#include "apps/memcached/protocol.hh"

#include <climits>

#include "framework/base/check.hh"

namespace solaster::memcached {

namespace {

constexpr std::string_view error_line = "ERROR\r\n";
constexpr std::string_view bad_format = "CLIENT_ERROR bad command line format\r\n";
constexpr std::string_view bad_exptime = "CLIENT_ERROR invalid exptime argument\r\n";
constexpr std::string_view bad_chunk = "CLIENT_ERROR bad data chunk\r\n";
constexpr std::string_view bad_delta = "CLIENT_ERROR invalid numeric delta argument\r\n";
constexpr std::string_view bad_delete = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";
constexpr std::string_view not_numeric = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
constexpr std::string_view too_large = "SERVER_ERROR object too large for cache\r\n";
constexpr std::string_view no_memory = "SERVER_ERROR out of memory storing object\r\n";
constexpr std::string_view end_line = "END\r\n";

// Takes the next word off the front of `rest`; empty when there is none.
std::string_view next_word(std::string_view& rest) noexcept {
  const char* p = rest.data();
  const char* end = p + rest.size();
  while (p < end && *p == ' ')
    ++p;
  const char* begin = p;
  while (p < end && *p != ' ')
    ++p;  // words are short
  rest = {p, size_t(end - p)};
  return {begin, size_t(p - begin)};
}

std::string_view outcome_text(store_outcome outcome) noexcept {
  switch (outcome) {
    case store_outcome::stored:
      return "STORED\r\n";
    case store_outcome::not_stored:
      return "NOT_STORED\r\n";
    case store_outcome::exists:
      return "EXISTS\r\n";
    case store_outcome::not_found:
      return "NOT_FOUND\r\n";
    case store_outcome::no_memory:
      return no_memory;
    case store_outcome::too_large:
      return too_large;
  }
  __builtin_unreachable();
}

// The value that travelled from another shard, as an item of this one.
std::variant<item*, allocation_failure> adopt(cache& c, const operation& op) {
  auto made =
      c.allocate(op.value->key(), op.hash, op.value->flags, c.expiry_from_protocol(op.exptime), op.value->value_size);
  if (item** i = std::get_if<item*>(&made))
    std::memcpy((*i)->value(), op.value->value(), op.value->value_size);
  return made;
}

std::string_view execute_store(cache& c, const operation& op, bool value_is_foreign) {
  item* fresh = op.value;
  if (value_is_foreign) {
    auto made = adopt(c, op);
    if (auto* failure = std::get_if<allocation_failure>(&made)) {
      if (op.mode == store_mode::set)
        c.remove(op.key, op.hash);
      return *failure == allocation_failure::too_large ? too_large : no_memory;
    }
    fresh = std::get<item*>(made);
  }
  return outcome_text(c.store(fresh, op.mode, op.number));
}

std::string_view execute_arithmetic(cache& c, const operation& op, reply& out) {
  uint64_t value = 0;
  switch (c.arithmetic(op.key, op.hash, op.increment, op.number, &value)) {
    case arithmetic_outcome::ok:
      if (op.noreply)
        return {};
      out.append_number(value);
      return "\r\n";
    case arithmetic_outcome::not_found:
      return "NOT_FOUND\r\n";
    case arithmetic_outcome::not_numeric:
      return not_numeric;
    case arithmetic_outcome::no_memory:
      return no_memory;
  }
  __builtin_unreachable();
}

}  // namespace

void execute(cache& c, const operation& op, reply& out, bool value_is_foreign) {
  using kind = operation::kind;
  std::string_view text;
  switch (op.what) {
    case kind::get:
    case kind::get_and_touch:
      if (item* i = op.what == kind::get ? c.get(op.key, op.hash)
                                         : c.get_and_touch(op.key, op.hash, c.expiry_from_protocol(op.exptime))) {
        out.append_value(i, op.with_cas);
      }
      return;
    case kind::touch:
      text = c.touch(op.key, op.hash, c.expiry_from_protocol(op.exptime)) ? "TOUCHED\r\n" : "NOT_FOUND\r\n";
      break;
    case kind::store:
      text = execute_store(c, op, value_is_foreign);
      break;
    case kind::remove:
      text = c.remove(op.key, op.hash) ? "DELETED\r\n" : "NOT_FOUND\r\n";
      break;
    case kind::arithmetic:
      text = execute_arithmetic(c, op, out);
      break;
    case kind::literal:
      text = op.text;
      break;
  }
  if (!op.noreply)
    out.append(text);
}

void execute_round(cache& c, unsigned shard, std::span<operation> operations, reply& out, bool values_are_foreign) {
  for (auto& op : operations) {
    if (op.shard != shard || op.done)
      continue;
    if (out.text().size() >= batch_reply_max)
      return;
    op.reply_begin = out.text().size();
    execute(c, op, out, values_are_foreign);
    op.reply_end = out.text().size();
    op.done = true;
  }
}

session::~session() {
  if (_pending_value)
    _cache.release(_pending_value);
  for (auto& op : _batch) {
    bool taken = op.done && op.shard == _where.shard;  // by the cache that it was stored in
    if (op.value && !taken)
      _cache.release(op.value);
  }
}

session::progress session::feed(std::string_view input, reply& out) {
  size_t at = 0;
  _admin.what = admin_request::kind::none;
  DCHECK(_batch.empty());
  while (at < input.size()) {
    std::string_view rest = input.substr(at);
    if (mid_value()) [[unlikely]] {
      at += take_value(rest, out);
    } else {
      const char* newline = find_newline(rest);
      if (!newline) {
        size_t blanks = rest.size() > line_max ? rest.find_first_not_of(' ') : 0;
        if (rest.size() > line_max) {
          bool is_get =
              blanks <= 100 && (rest.substr(blanks).starts_with("get ") || rest.substr(blanks).starts_with("gets "));
          if (!is_get || rest.size() > get_line_max)
            return {input.size(), verdict::close};
        }
        break;
      }
      std::string_view line = rest.substr(0, size_t(newline - rest.data()));
      at += line.size() + 1;
      if (!line.empty() && line.back() == '\r')
        line.remove_suffix(1);
      if (line.size() > 4 && std::memcmp(line.data(), "get ", 4) == 0) {
        std::string_view key = line.substr(4);
        if (key.size() <= key_length_max && !has_blank(key)) [[likely]] {
          simple_get(key, out);
        } else {
          retrieve(key, false, std::nullopt, out);
        }
      } else {
        command(line, out);
      }
    }
    if (_closing)
      return {at, verdict::close};
    if (_admin.what != admin_request::kind::none)
      return {at, verdict::admin};
    if (_batch.size() >= batch_max)
      break;
    if (out.size() >= reply_soft_max) [[unlikely]]
      return {at, _batch.empty() ? verdict::pause : verdict::batch};
  }
  return {at, _batch.empty() ? verdict::more : verdict::batch};
}

// Carries out now, or queues where something before it is queued already or the key lives elsewhere.
void session::run(operation op, reply& out) {
  bool here = op.what == operation::kind::literal || is_local(op.hash);
  if (here && _batch.empty()) {
    execute(_cache, op, out, false);
    return;
  }
  op.shard = here ? _where.shard : shard_of(op.hash);
  _batch.push_back(op);
}

void session::say(std::string_view text, bool noreply, reply& out) {
  if (noreply)
    return;
  if (_batch.empty()) {
    out.append(text);
  } else {
    run({.what = operation::kind::literal, .text = text}, out);
  }
}

void session::simple_get(std::string_view key, reply& out) {
  uint64_t hash = hash_key(key, _where.seed);
  if (is_local(hash) && _batch.empty()) [[likely]] {
    if (item* i = _cache.get(key, hash))
      out.append_value(i, false);
    out.append(end_line);
    return;
  }
  run({.what = operation::kind::get, .key = key, .hash = hash}, out);
  say(end_line, false, out);
}

void session::command(std::string_view line, reply& out) {
  std::string_view rest = line;
  std::string_view name = next_word(rest);
  if (name == "get" || name == "gets" || name == "bget")
    return retrieve(rest, name == "gets", std::nullopt, out);
  if (name == "gat" || name == "gats")
    return get_and_touch(rest, name == "gats", out);

  tokens t{name};
  size_t count = 1;
  while (count < tokens_max) {
    t[count] = next_word(rest);
    if (t[count].empty())
      break;
    ++count;
  }
  auto wants = [&](size_t low, size_t high) { return count >= low && count <= high; };
  if (name == "set" && wants(5, 6))
    return update(t, count, store_mode::set, out);
  if (name == "add" && wants(5, 6))
    return update(t, count, store_mode::add, out);
  if (name == "replace" && wants(5, 6))
    return update(t, count, store_mode::replace, out);
  if (name == "append" && wants(5, 6))
    return update(t, count, store_mode::append, out);
  if (name == "prepend" && wants(5, 6))
    return update(t, count, store_mode::prepend, out);
  if (name == "cas" && wants(6, 7))
    return update(t, count, store_mode::cas, out);
  if (name == "incr" && wants(3, 4))
    return arithmetic(t, count, true, out);
  if (name == "decr" && wants(3, 4))
    return arithmetic(t, count, false, out);
  if (name == "delete" && wants(2, 4))
    return remove(t, count, out);
  if (name == "touch" && wants(3, 4))
    return touch(t, count, out);
  if (name == "flush_all" && wants(1, 3))
    return flush_all(t, count, out);
  if (name == "verbosity")
    return verbosity(t, count, out);
  if (name == "stats")
    return stats(t, count);
  if (name == "version") {
    say("VERSION ", false, out);
    say(version_text, false, out);
    return say("\r\n", false, out);
  }
  if (name == "shutdown")
    return say("ERROR: shutdown not enabled\r\n", false, out);
  if (name == "quit" || (count >= 1 && t[count - 1].starts_with("HTTP/"))) {  // a browser is not answered
    _closing = true;
    return;
  }
  say(error_line, false, out);
}

// get and gets: every key is checked before the first is answered.
void session::retrieve(std::string_view keys, bool with_cas, std::optional<int64_t> touch, reply& out) {
  std::string_view rest = keys;
  size_t count = 0;
  for (auto key = next_word(rest); !key.empty(); key = next_word(rest), ++count) {
    if (key.size() > key_length_max)
      return say(bad_format, false, out);
  }
  if (count == 0 && !touch)
    return say(error_line, false, out);
  rest = keys;
  for (auto key = next_word(rest); !key.empty(); key = next_word(rest)) {
    run({.what = touch ? operation::kind::get_and_touch : operation::kind::get,
         .with_cas = with_cas,
         .key = key,
         .hash = hash_key(key, _where.seed),
         .exptime = touch.value_or(0)},
        out);
  }
  say(end_line, false, out);
}

void session::get_and_touch(std::string_view rest, bool with_cas, reply& out) {
  std::string_view time = next_word(rest);
  std::string_view keys = rest;
  if (time.empty())
    return say(error_line, false, out);
  auto exptime = parse_number<int64_t>(time);
  if (!exptime)
    return say(bad_exptime, false, out);
  retrieve(keys, with_cas, *exptime, out);
}

void session::update(const tokens& t, size_t count, store_mode mode, reply& out) {
  size_t words = mode == store_mode::cas ? 6 : 5;
  bool noreply = count > words && t[count - 1] == "noreply";
  auto flags = parse_number<uint64_t>(t[2]);  // as memcached: the low 32 bits are kept
  auto exptime = parse_number<int64_t>(t[3]);
  auto size = parse_number<int32_t>(t[4]);
  std::optional<uint64_t> cas = mode == store_mode::cas ? parse_number<uint64_t>(t[5]) : 0;
  if (t[1].size() > key_length_max || !flags || !exptime || !size || !cas || *size < 0 || *size > INT_MAX - 2) {
    return say(bad_format, noreply, out);
  }

  uint64_t hash = hash_key(t[1], _where.seed);
  auto made = _cache.allocate(t[1], hash, uint32_t(*flags), _cache.expiry_from_protocol(*exptime), size_t(*size));
  if (auto* failure = std::get_if<allocation_failure>(&made)) {
    _swallow = uint64_t(*size) + 2;
    // What was there is stale now: memcached drops it.
    if (mode == store_mode::set) {
      run({.what = operation::kind::remove, .noreply = true, .key = t[1], .hash = hash}, out);
    }
    return say(*failure == allocation_failure::too_large ? too_large : no_memory, noreply, out);
  }
  _pending_value = std::get<item*>(made);
  _pending_filled = 0;
  _pending = {.what = operation::kind::store,
              .mode = mode,
              .noreply = noreply,
              .key = _pending_value->key(),
              .hash = hash,
              .exptime = *exptime,
              .number = *cas};
}

// Bytes of `input` that belong to the value under way or to a refused one.
size_t session::take_value(std::string_view input, reply& out) {
  if (_swallow > 0) {
    size_t n = size_t(std::min<uint64_t>(_swallow, input.size()));
    _swallow -= n;
    return n;
  }
  size_t value_size = _pending_value->value_size;
  size_t taken = 0;
  if (_pending_filled < value_size) {
    taken = std::min(input.size(), value_size - _pending_filled);
    std::memcpy(_pending_value->value() + _pending_filled, input.data(), taken);
    _pending_filled += taken;
  }
  while (_pending_filled >= value_size && _pending_filled < value_size + 2 && taken < input.size()) {
    _pending_end[_pending_filled++ - value_size] = input[taken++];
  }
  if (_pending_filled == value_size + 2)
    value_complete(out);
  return taken;
}

void session::value_complete(reply& out) {
  item* value = std::exchange(_pending_value, nullptr);
  if (_pending_end[0] != '\r' || _pending_end[1] != '\n') {
    _cache.release(value);
    return say(bad_chunk, _pending.noreply, out);
  }
  _pending.value = value;
  run(_pending, out);
}

void session::remove(const tokens& t, size_t count, reply& out) {
  bool noreply = count > 2 && t[count - 1] == "noreply";
  // A zero (the hold time of very old clients) may stand before noreply; anything else is refused.
  bool usage = count == 2 || (count == 3 && (t[2] == "0" || noreply)) || (count == 4 && t[2] == "0" && noreply);
  if (!usage)
    return say(bad_delete, noreply, out);
  if (t[1].size() > key_length_max)
    return say(bad_format, noreply, out);
  run({.what = operation::kind::remove, .noreply = noreply, .key = t[1], .hash = hash_key(t[1], _where.seed)}, out);
}

void session::arithmetic(const tokens& t, size_t count, bool increment, reply& out) {
  bool noreply = count > 3 && t[3] == "noreply";
  if (t[1].size() > key_length_max)
    return say(bad_format, noreply, out);
  auto delta = parse_number<uint64_t>(t[2]);
  if (!delta)
    return say(bad_delta, noreply, out);
  run({.what = operation::kind::arithmetic,
       .noreply = noreply,
       .increment = increment,
       .key = t[1],
       .hash = hash_key(t[1], _where.seed),
       .number = *delta},
      out);
}

void session::touch(const tokens& t, size_t count, reply& out) {
  bool noreply = count > 3 && t[3] == "noreply";
  if (t[1].size() > key_length_max)
    return say(bad_format, noreply, out);
  auto exptime = parse_number<int64_t>(t[2]);
  if (!exptime)
    return say(bad_exptime, noreply, out);
  run({.what = operation::kind::touch,
       .noreply = noreply,
       .key = t[1],
       .hash = hash_key(t[1], _where.seed),
       .exptime = *exptime},
      out);
}

void session::flush_all(const tokens& t, size_t count, reply& out) {
  bool noreply = count > 1 && t[count - 1] == "noreply";
  std::optional<int64_t> delay = 0;
  if (count > (noreply ? 2u : 1u))
    delay = parse_number<int64_t>(t[1]);
  if (!delay)
    return say(bad_exptime, noreply, out);
  _admin = {.what = admin_request::kind::flush_all, .noreply = noreply, .exptime = *delay};
}

void session::verbosity(const tokens& t, size_t count, reply& out) {
  bool noreply = count > 1 && t[count - 1] == "noreply";
  if (count < 2 || count > 3)
    return say(error_line, false, out);
  auto level = parse_number<uint32_t>(t[1]);
  if (!level)
    return say(bad_format, noreply, out);
  _admin = {.what = admin_request::kind::verbosity, .noreply = noreply, .level = *level};
}

void session::stats(const tokens& t, size_t count) {
  std::string argument;
  for (size_t i = 1; i < count; ++i)
    argument.append(i > 1 ? " " : "").append(t[i]);
  _admin = {.what = admin_request::kind::stats, .argument = std::move(argument)};
}

void session::take_answer(unsigned shard, std::string_view text) {
  for (auto& op : _batch) {
    if (op.shard != shard || !op.done || op.answered)
      continue;
    op.answer = text.substr(op.reply_begin, op.reply_end - op.reply_begin);
    op.answered = true;
  }
}

bool session::holds_answer(unsigned shard) const noexcept {
  for (size_t i = _emitted; i < _batch.size(); ++i) {
    if (_batch[i].shard == shard && _batch[i].answered)
      return true;
  }
  return false;
}

bool session::emit_answers(reply& out) {
  for (; _emitted < _batch.size() && _batch[_emitted].answered; ++_emitted) {
    operation& op = _batch[_emitted];
    out.append(op.answer);
    // A local store took the item; one of another shard copied it.
    if (op.value && op.shard != _where.shard)
      _cache.release(op.value);
    op.value = nullptr;
  }
  if (_emitted < _batch.size())
    return false;
  _emitted = 0;
  _batch.clear();
  return true;
}

}  // namespace solaster::memcached

#include "apps/memcached/protocol.hh"

#include <algorithm>
#include <climits>
#include <utility>

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
constexpr std::string_view no_memory_to_answer = "SERVER_ERROR out of memory writing get response\r\n";
constexpr std::string_view end_line = "END\r\n";

// Spec: memcached's doc/protocol-binary.xml: the header of a request and of a response.
constexpr size_t binary_header_size = 24;
constexpr uint8_t binary_request_magic = 0x80, binary_response_magic = 0x81, binary_unknown_command = 0x81;
constexpr size_t binary_opcode_at = 1, binary_status_at = 7, binary_body_size_at = 11, binary_opaque_at = 12;
constexpr std::string_view binary_refusal = "the text protocol only";

constexpr size_t batch_kept_max = 64;  // operations that a session keeps memory for between batches

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

using tokens = std::array<std::string_view, tokens_max>;
// As in memcached the last word counts, even where it stands in another's place.
bool is_noreply(const tokens& t, size_t count) noexcept {
  return t[count - 1] == "noreply";
}

// "get " and one key.
bool is_simple_get(std::string_view line) noexcept {
  if (line.size() <= 4 || line.size() > 4 + key_length_max || std::memcmp(line.data(), "get ", 4) != 0)
    return false;
  return !has_blank({line.data() + 4, line.size() - 4});
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
        out.append_value(c, i, op.with_cas);
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
    if (out.is_full())
      return;
    op.reply_begin = out.size();
    execute(c, op, out, values_are_foreign);
    op.reply_end = out.size();
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

session::progress session::feed(std::string_view input, reply& out, size_t values_max) {
  size_t at = 0;
  _admin.what = admin_request::kind::none;
  _values_max = values_max;
  DCHECK(_batch.empty() && !out.is_full());
  while (at < input.size()) {
    std::string_view rest = input.substr(at);
    if (_inside != inside::nothing) [[unlikely]] {
      if (_inside == inside::whole_connection) {  // its first byte says which protocol it speaks
        if (uint8_t(rest.front()) == binary_request_magic)
          return {at, refuse_binary(rest, out) ? verdict::binary : verdict::more};
        _inside = inside::nothing;
        continue;
      }
      size_t taken = go_on(rest, out);
      if (taken == 0)
        break;  // half a key
      at += taken;
    } else if (const char* newline = find_newline(rest)) [[likely]] {
      std::string_view line = rest.substr(0, size_t(newline - rest.data()));
      at += line.size() + 1;
      if (!line.empty() && line.back() == '\r')
        line.remove_suffix(1);
      if (is_simple_get(line) && _values_max == unlimited) [[likely]] {
        simple_get({line.data() + 4, line.size() - 4}, out);
      } else {
        command(line, out);
        if (_inside == inside::keys)
          at = size_t(_keys - input.data());
      }
    } else if (rest.size() <= line_max) {
      break;
    } else if (begin_long_line(rest)) {
      at = size_t(_keys - input.data());
    } else {
      return {input.size(), verdict::close};
    }
    if (_closing)
      return {at, verdict::close};
    if (_admin.what != admin_request::kind::none)
      return {at, verdict::admin};
    if (_batch.size() >= batch_max)
      break;
    if (out.is_full()) [[unlikely]]
      return {at, _batch.empty() ? verdict::pause : verdict::batch};
  }
  return {at, _batch.empty() ? verdict::more : verdict::batch};
}

// A long line without an end must be a get: its keys are next. False: it is not.
bool session::begin_long_line(std::string_view input) noexcept {
  constexpr size_t blanks_max = 100;  // memcached's
  size_t blanks = input.find_first_not_of(' ');
  if (blanks > blanks_max)
    return false;
  std::string_view line = input.substr(blanks);
  bool with_cas = line.starts_with("gets ");
  if (!with_cas && !line.starts_with("get "))
    return false;
  _inside = inside::keys;
  _retrieval = {.what = operation::kind::get, .with_cas = with_cas};
  _any_key = false;
  _keys = line.data() + (with_cas ? 5 : 4);
  return true;
}

// Answers a request of the binary protocol in its own words, so that its client knows. False: the header is not here
// yet.
bool session::refuse_binary(std::string_view request, reply& out) {
  if (request.size() < binary_header_size)
    return false;
  char header[binary_header_size] = {};
  header[0] = char(binary_response_magic);
  header[binary_opcode_at] = request[binary_opcode_at];
  header[binary_status_at] = char(binary_unknown_command);
  header[binary_body_size_at] = char(binary_refusal.size());
  std::memcpy(header + binary_opaque_at, request.data() + binary_opaque_at, 4);
  out.append({header, sizeof(header)});
  out.append(binary_refusal);
  return true;
}

// Bytes of `input` that belong to the command under way; 0 when it needs more of them.
size_t session::go_on(std::string_view input, reply& out) {
  switch (_inside) {
    case inside::nothing:
    case inside::whole_connection:
      break;
    case inside::value:
      return take_value(input, out);
    case inside::refused_value: {
      size_t n = size_t(std::min<uint64_t>(_swallow, input.size()));
      _swallow -= n;
      if (_swallow == 0)
        _inside = inside::nothing;
      return n;
    }
    case inside::keys:
      return take_keys(input, out);
    case inside::refused_line: {
      size_t newline = input.find('\n');
      if (newline == input.npos)
        return input.size();
      _inside = inside::nothing;
      return newline + 1;
    }
  }
  __builtin_unreachable();
}

// Carries out now, or queues where something before it is queued already or the key lives elsewhere.
void session::run(const operation& op, reply& out) {
  bool here = op.what == operation::kind::literal || is_local(op.hash);
  if (here && _batch.empty()) {
    execute(_cache, op, out, false);
    return;
  }
  _batch.push_back(op);
  _batch.back().shard = here ? _where.shard : shard_of(op.hash);
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
      out.append_value(_cache, i, false);
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

// Leaves the keys to take_keys. Those of a line of up to line_max bytes are checked before the first is answered.
void session::retrieve(std::string_view keys, bool with_cas, std::optional<int64_t> touch, reply& out) {
  std::string_view rest = keys;
  size_t count = 0;
  for (auto key = next_word(rest); !key.empty() && keys.size() <= line_max; key = next_word(rest), ++count) {
    if (key.size() > key_length_max)
      return say(bad_format, false, out);
  }
  if (keys.empty() || (count == 0 && keys.size() <= line_max))
    return say(touch ? end_line : error_line, false, out);
  _inside = inside::keys;
  _retrieval = {.what = touch ? operation::kind::get_and_touch : operation::kind::get,
                .with_cas = with_cas,
                .exptime = touch.value_or(0)};
  _any_key = false;
  _keys = keys.data();
}

// Answers keys until the line ends, or the reply or the batch is full. A word whose end has not come stays.
size_t session::take_keys(std::string_view input, reply& out) {
  size_t at = 0;
  while (!out.is_full() && _batch.size() < batch_max) {
    while (at < input.size() && input[at] == ' ')
      ++at;
    size_t end = at;
    while (end < input.size() && input[end] != ' ' && input[end] != '\n')
      ++end;
    bool cut = end == input.size();
    if (cut && end - at <= key_length_max + 1)  // its last byte may be the line end's \r
      return at;
    bool last = !cut && input[end] == '\n';
    std::string_view key = input.substr(at, end - at);
    if (last && key.ends_with('\r'))
      key.remove_suffix(1);
    at = end + last;
    if (key.size() > key_length_max) {
      refuse_line(bad_format, last, out);
      return at;
    }
    if (!key.empty()) {
      if (out.size() >= _values_max) [[unlikely]] {
        refuse_line(no_memory_to_answer, last, out);
        return at;
      }
      _retrieval.key = key;
      _retrieval.hash = hash_key(key, _where.seed);
      run(_retrieval, out);
      _any_key = true;
    }
    if (last) {
      _inside = inside::nothing;
      bool touch = _retrieval.what == operation::kind::get_and_touch;
      say(_any_key || touch ? end_line : error_line, false, out);
      return at;
    }
  }
  return at;
}

// In place of END; the rest of the line is passed over.
void session::refuse_line(std::string_view text, bool at_its_end, reply& out) {
  _inside = at_its_end ? inside::nothing : inside::refused_line;
  say(text, false, out);
}

void session::get_and_touch(std::string_view rest, bool with_cas, reply& out) {
  std::string_view time = next_word(rest);
  std::string_view keys = rest;
  if (time.empty())
    return say(error_line, false, out);
  auto exptime = parse_truncated(time);
  if (!exptime)
    return say(bad_exptime, false, out);
  retrieve(keys, with_cas, *exptime, out);
}

void session::update(const tokens& t, size_t count, store_mode mode, reply& out) {
  bool noreply = is_noreply(t, count);
  auto flags = parse_number<uint64_t>(t[2]);  // as memcached: the low 32 bits are kept
  auto exptime = parse_truncated(t[3]);
  auto size = parse_truncated(t[4]);
  std::optional<uint64_t> cas = mode == store_mode::cas ? parse_number<uint64_t>(t[5]) : 0;
  if (t[1].size() > key_length_max || !flags || !exptime || !size || !cas || *size < 0 || *size > INT_MAX - 2) {
    return say(bad_format, noreply, out);
  }

  uint64_t hash = hash_key(t[1], _where.seed);
  auto made = _cache.allocate(t[1], hash, uint32_t(*flags), _cache.expiry_from_protocol(*exptime), size_t(*size));
  if (auto* failure = std::get_if<allocation_failure>(&made)) {
    _swallow = uint64_t(*size) + 2;
    _inside = inside::refused_value;
    // What was there is stale now: memcached drops it.
    if (mode == store_mode::set) {
      run({.what = operation::kind::remove, .noreply = true, .key = t[1], .hash = hash}, out);
    }
    return say(*failure == allocation_failure::too_large ? too_large : no_memory, noreply, out);
  }
  _inside = inside::value;
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

size_t session::take_value(std::string_view input, reply& out) {
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
  _inside = inside::nothing;
  if (_pending_end[0] != '\r' || _pending_end[1] != '\n') {
    _cache.release(std::exchange(_pending_value, nullptr));
    return say(bad_chunk, _pending.noreply, out);
  }
  _pending.value = _pending_value;
  if (_batch.size() == _batch.capacity() && (!_batch.empty() || !is_local(_pending.hash)))
    _batch.reserve(std::max<size_t>(16, 2 * _batch.size()));  // may throw: the value is still the session's
  _pending_value = nullptr;
  run(_pending, out);
}

void session::remove(const tokens& t, size_t count, reply& out) {
  bool noreply = count > 2 && is_noreply(t, count);
  // A zero (the hold time of very old clients) may stand before noreply; anything else is refused.
  bool usage = count == 2 || (count == 3 && (t[2] == "0" || noreply)) || (count == 4 && t[2] == "0" && noreply);
  if (!usage)
    return say(bad_delete, noreply, out);
  if (t[1].size() > key_length_max)
    return say(bad_format, noreply, out);
  run({.what = operation::kind::remove, .noreply = noreply, .key = t[1], .hash = hash_key(t[1], _where.seed)}, out);
}

void session::arithmetic(const tokens& t, size_t count, bool increment, reply& out) {
  bool noreply = is_noreply(t, count);
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
  bool noreply = is_noreply(t, count);
  if (t[1].size() > key_length_max)
    return say(bad_format, noreply, out);
  auto exptime = parse_truncated(t[2]);
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
  bool noreply = is_noreply(t, count);
  std::optional<int32_t> delay = 0;
  if (count > (noreply ? 2u : 1u))
    delay = parse_truncated(t[1]);
  if (!delay)
    return say(bad_exptime, noreply, out);
  _admin = {.what = admin_request::kind::flush_all, .noreply = noreply, .exptime = *delay};
}

void session::verbosity(const tokens& t, size_t count, reply& out) {
  bool noreply = is_noreply(t, count);
  if (count < 2 || count > 3)
    return say(error_line, false, out);
  auto level = parse_number<uint64_t>(t[1]);
  if (!level)
    return say(bad_format, noreply, out);
  _admin = {.what = admin_request::kind::verbosity, .noreply = noreply, .level = unsigned(*level)};
}

void session::stats(const tokens& t, size_t count) {
  _admin = {.what = admin_request::kind::stats, .argument = std::string(count > 1 ? t[1] : std::string_view())};
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

bool session::emit_answers(reply& out, std::span<std::optional<temporary_buffer<char>>> answers) {
  for (; _emitted < _batch.size() && _batch[_emitted].answered; ++_emitted) {
    if (out.is_full())
      return false;
    operation& op = _batch[_emitted];
    if (op.answer.size() >= reference_min) {
      auto& whole = *answers[op.shard];
      out.insert(whole.share(size_t(op.answer.data() - whole.get()), op.answer.size()));
    } else {
      out.append(op.answer);
    }
    // A local store took the item; one of another shard copied it.
    if (op.value && op.shard != _where.shard)
      _cache.release(op.value);
    op.value = nullptr;
  }
  if (_emitted < _batch.size())
    return false;
  _emitted = 0;
  _batch.clear();
  if (_batch.capacity() > batch_kept_max)
    std::vector<operation>().swap(_batch);
  return true;
}

}  // namespace solaster::memcached

#include "kernel/lib/demangle.hh"

namespace solaster::kernel {

namespace {

constexpr int nesting_max = 64;

struct operator_name {
  char code[3];
  std::string_view text;
};
constexpr operator_name operators[] = {
    {"cl", "()"},      {"ix", "[]"},        {"pt", "->"}, {"eq", "=="},  {"ne", "!="},   {"lt", "<"},
    {"gt", ">"},       {"le", "<="},        {"ge", ">="}, {"ss", "<=>"}, {"ls", "<<"},   {"rs", ">>"},
    {"pl", "+"},       {"mi", "-"},         {"ml", "*"},  {"dv", "/"},   {"rm", "%"},    {"aS", "="},
    {"pL", "+="},      {"mI", "-="},        {"pp", "++"}, {"mm", "--"},  {"nw", " new"}, {"na", " new[]"},
    {"dl", " delete"}, {"da", " delete[]"}, {"nt", "!"},  {"de", "*"},   {"ad", "&"},    {"aw", " co_await"},
    {"aa", "&&"},      {"oo", "||"}};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}

class demangler {
 public:
  demangler(std::string_view in, std::span<char> out) : _in(in), _out(out) {}

  bool run() {
    if (!take("_Z"))
      return false;
    if (!encoding_name(0))
      return false;
    size_t dot = _in.find('.', _at);  // ".resume" and the like: parts of a coroutine, clones
    if (dot != std::string_view::npos)
      put(_in.substr(dot));
    return true;
  }
  std::string_view text() const { return {_out.data(), _used}; }

 private:
  bool more() const { return _at < _in.size(); }
  char peek(size_t n = 0) const { return _at + n < _in.size() ? _in[_at + n] : 0; }
  bool take(std::string_view s) {
    if (!_in.substr(_at).starts_with(s))
      return false;
    _at += s.size();
    return true;
  }
  void put(std::string_view s) {
    for (char c : s)
      if (_used < _out.size())
        _out[_used++] = c;
  }
  void separate() {
    if (_used)
      put("::");
  }

  bool encoding_name(int nesting) {
    if (nesting > nesting_max)
      return false;
    if (take("N"))
      return nested_name();
    if (take("Z"))
      return local_name(nesting);
    if (take("T")) {  // tables, thunks: the name of what they are for
      while (more() && !is_digit(peek()) && peek() != 'N')
        _at++;
      return encoding_name(nesting + 1);
    }
    bool in_std = peek() == 'S' && peek(1) == 't';
    if (!component() || (in_std && !component()))
      return false;
    while (peek() == 'I' && component()) {
    }
    return true;
  }

  bool nested_name() {
    while (peek() == 'r' || peek() == 'V' || peek() == 'K' || peek() == 'R' || peek() == 'O')
      _at++;
    while (more() && !take("E"))
      if (!component())
        return false;
    return true;
  }

  // Z <function> E <entity>: a lambda or a static inside a function.
  bool local_name(int nesting) {
    if (!encoding_name(nesting + 1) || !skip_to_end())
      return false;
    if (take("s"))
      return true;
    return encoding_name(nesting + 1);
  }

  bool component() {
    take("L");
    if (is_digit(peek()))
      return source_name();
    if (take("I")) {
      put("<>");
      return skip_to_end();
    }
    if (take("St")) {
      separate();
      put("std");
      return true;
    }
    if (peek() == 'S')
      return substitution();
    if (peek() == 'C' && is_digit(peek(1)))
      return structor("");
    if (peek() == 'D' && is_digit(peek(1)))
      return structor("~");
    if (take("Ul"))
      return unnamed("{lambda}");
    if (take("Ut")) {
      separate();
      put("{unnamed}");
      return skip_past('_');
    }
    if (take("B"))
      return source_name_skipped();
    if (take("cv")) {
      separate();
      put("operator (conversion)");
      return skip_type();
    }
    return operator_component();
  }

  bool number(size_t& value) {
    if (!is_digit(peek()))
      return false;
    value = 0;
    while (is_digit(peek()) && value < 100000)
      value = value * 10 + size_t(_in[_at++] - '0');
    return value <= _in.size() - _at;
  }

  bool source_name() {
    size_t n;
    if (!number(n))
      return false;
    separate();
    _last = _in.substr(_at, n);
    if (_last.starts_with("_GLOBAL__N"))
      _last = "(anonymous)";
    put(_last);
    _at += n;
    return true;
  }
  bool source_name_skipped() {
    size_t n;
    if (!number(n))
      return false;
    _at += n;
    return true;
  }

  bool structor(std::string_view mark) {
    _at += 2;
    separate();
    put(mark);
    put(_last);
    return true;
  }

  bool substitution() {
    _at++;
    separate();
    if (is_lower(peek())) {
      put(peek() == 's' ? "std::string" : peek() == 'a' ? "std::allocator" : "std");
      _at++;
      return true;
    }
    put("_");
    return skip_past('_');
  }

  bool unnamed(std::string_view name) {
    separate();
    put(name);
    return skip_to_end() && skip_past('_');
  }

  bool operator_component() {
    for (auto& o : operators)
      if (take(std::string_view(o.code, 2))) {
        separate();
        put("operator");
        put(o.text);
        return true;
      }
    return false;
  }

  bool skip_past(char c) {
    while (more())
      if (_in[_at++] == c)
        return true;
    return false;
  }

  // A conversion's target: one token of a type is enough where it stands last in a name.
  bool skip_type() {
    while (peek() == 'P' || peek() == 'R' || peek() == 'K' || peek() == 'O')
      _at++;
    if (is_digit(peek()))
      return source_name_skipped();
    if (take("N"))
      return skip_to_end();
    if (peek() == 'S' && !is_lower(peek(1)))
      return skip_past('_');
    _at++;
    return true;
  }

  // Past the E that closes what has been opened, whatever lies between.
  bool skip_to_end() {
    for (int depth = 1; more();) {
      char c = peek();
      if (is_digit(c)) {
        if (!source_name_skipped())
          return false;
        continue;
      }
      _at++;
      if (c == 'E') {
        if (--depth == 0)
          return true;
      } else if (c == 'L') {
        if (is_lower(peek())) {  // a literal of a built-in type: digits up to its E
          if (!skip_past('E'))
            return false;
        } else {
          depth++;
          if (take("_Z")) {
          }
        }
      } else if (c == 'S') {
        if (is_lower(peek()))
          _at++;
        else if (!skip_past('_'))
          return false;
      } else if (c == 'T') {
        if (!skip_past('_'))
          return false;
      } else if (c == 'U' && (peek() == 'l' || peek() == 't')) {
        bool is_lambda = take("l");
        if (is_lambda ? !skip_to_end() || !skip_past('_') : !skip_past('_'))
          return false;
      } else if (c == 'D') {
        if (take("T") || take("t"))
          depth++;
        else
          _at++;
      } else if (c == 'C' || c == 'M' || c == 'A') {
        if (c == 'C' && is_digit(peek()))
          _at++;
        if (c == 'A' && is_digit(peek()) && !skip_past('_'))
          return false;
      } else if (c == 'N' || c == 'I' || c == 'X' || c == 'J' || c == 'F' || c == 'Z') {
        depth++;
      }
    }
    return false;
  }

  std::string_view _in;
  std::span<char> _out;
  size_t _at = 0, _used = 0;
  std::string_view _last;
};

}  // namespace

std::string_view demangle(std::string_view mangled, std::span<char> out) {
  demangler d(mangled, out);
  return d.run() ? d.text() : mangled;
}

}  // namespace solaster::kernel

#include "kernel/lib/print.hh"

#include "kernel/lib/memory.hh"

namespace solaster::kernel {
namespace {

struct sink {
  char* out;
  usize size;
  usize used = 0;
  void put(char c) {
    if (used < size)
      out[used++] = c;
  }
  void put(std::string_view s) {
    for (char c : s)
      put(c);
  }
};

struct spec {
  bool hex = false;
  char fill = ' ';
  char align = 0;
  unsigned width = 0;
};

// Parses what stands between the braces; returns the number of characters up to and with the closing one, 0 if
// malformed.
usize parse_spec(std::string_view s, spec& out) {
  usize i = 0;
  if (i < s.size() && s[i] == ':') {
    i++;
    if (i < s.size() && (s[i] == '<' || s[i] == '>'))
      out.align = s[i++];
    if (i < s.size() && s[i] == '0') {
      out.fill = '0';
      i++;
    }
    while (i < s.size() && s[i] >= '0' && s[i] <= '9')
      out.width = out.width * 10 + static_cast<unsigned>(s[i++] - '0');
    if (i < s.size() && (s[i] == 'x' || s[i] == 'p')) {
      out.hex = true;
      i++;
    }
    if (out.width > 64)
      out.width = 64;
  }
  return i < s.size() && s[i] == '}' ? i + 1 : 0;
}

std::string_view digits(char* buffer, usize size, u64 v, unsigned base) {
  usize at = size;
  do {
    buffer[--at] = "0123456789abcdef"[v % base];
    v /= base;
  } while (v);
  return {buffer + at, size - at};
}

void put_arg(sink& s, const format_arg& a, const spec& how) {
  char buffer[24];
  std::string_view text;
  bool negative = false, prefix = false, is_number = true;
  using type = format_arg::type;
  switch (a.kind) {
    case type::u64_:
      text = digits(buffer, sizeof buffer, a.u, how.hex ? 16 : 10);
      break;
    case type::i64_:
      negative = a.i < 0 && !how.hex;
      text = digits(buffer, sizeof buffer, negative ? 0 - a.u : a.u, how.hex ? 16 : 10);
      break;
    case type::pointer:
      prefix = true;
      text = digits(buffer, sizeof buffer, a.u, 16);
      break;
    case type::boolean:
      text = a.u ? "true" : "false";
      is_number = false;
      break;
    case type::character:
      buffer[0] = static_cast<char>(a.u);
      text = {buffer, 1};
      is_number = false;
      break;
    case type::string:
      text = {static_cast<const char*>(a.p), a.length};
      is_number = false;
      break;
  }
  usize length = text.size() + negative + (prefix ? 2 : 0);
  usize padding = how.width > length ? how.width - length : 0;
  bool left = how.align == '<' || (!how.align && !is_number);
  if (how.fill == '0')
    left = false;
  if (!left && how.fill == ' ') {
    for (usize i = 0; i < padding; i++)
      s.put(' ');
  }
  if (negative)
    s.put('-');
  if (prefix)
    s.put("0x");
  if (!left && how.fill == '0') {
    for (usize i = 0; i < padding; i++)
      s.put('0');
  }
  s.put(text);
  if (left) {
    for (usize i = 0; i < padding; i++)
      s.put(' ');
  }
}

}  // namespace

std::string_view vformat(char* out, usize size, std::string_view fmt, const format_arg* args, usize count) {
  sink s{out, size};
  usize next = 0;
  for (usize i = 0; i < fmt.size(); i++) {
    if (fmt[i] == '{' && i + 1 < fmt.size() && fmt[i + 1] == '{') {
      s.put('{');
      i++;
      continue;
    }
    if (fmt[i] == '}' && i + 1 < fmt.size() && fmt[i + 1] == '}') {
      s.put('}');
      i++;
      continue;
    }
    if (fmt[i] == '{' && next < count) {
      spec how;
      if (usize n = parse_spec(fmt.substr(i + 1), how)) {
        put_arg(s, args[next++], how);
        i += n;
        continue;
      }
    }
    s.put(fmt[i]);
  }
  return {s.out, s.used};
}

}  // namespace solaster::kernel

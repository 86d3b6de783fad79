#include "net/wire/tcp.hh"

namespace solaster::net {

tcp_options tcp_options::parse(const std::byte* p, uint32_t n) noexcept {
  tcp_options out;
  while (n > 0) {
    const auto kind = tcp_option(load8(p));
    if (kind == tcp_option::end)
      break;
    if (kind == tcp_option::nop) {
      ++p;
      --n;
      continue;
    }
    if (n < 2)
      break;
    const uint32_t length = load8(p + 1);
    if (length < 2 || length > n)
      break;
    switch (kind) {
      case tcp_option::mss:
        if (length == 4)
          out.mss = load_be16(p + 2);
        break;
      case tcp_option::window_scale:
        if (length == 3)
          out.window_scale = int8_t(load8(p + 2) > 127 ? 127 : load8(p + 2));
        break;
      case tcp_option::sack_permitted:
        if (length == 2)
          out.sack_permitted = true;
        break;
      case tcp_option::timestamps:
        if (length == 10) {
          out.timestamps = true;
          out.ts_value = load_be32(p + 2);
          out.ts_echo = load_be32(p + 6);
        }
        break;
      case tcp_option::sack:
        if (length >= 10 && (length - 2) % 8 == 0) {
          out.sack_count = 0;
          for (uint32_t at = 2; at < length && out.sack_count < out.sack.size(); at += 8)
            out.sack[out.sack_count++] = {load_be32(p + at), load_be32(p + at + 4)};
        }
        break;
      default:
        break;
    }
    p += length;
    n -= length;
  }
  return out;
}

uint32_t tcp_options::size() const noexcept {
  uint32_t n = 0;
  if (mss)
    n += 4;
  if (window_scale >= 0)
    n += 4;
  if (timestamps)
    n += 12;
  else if (sack_permitted)
    n += 4;
  if (sack_count)
    n += 4 + 8u * sack_count;
  return n;
}

void tcp_options::emit(std::byte* p) const noexcept {
  constexpr uint32_t nop = uint32_t(tcp_option::nop);
  auto word = [&](uint32_t v) {
    store_be32(p, v);
    p += 4;
  };
  if (mss)
    word(uint32_t(tcp_option::mss) << 24 | 4 << 16 | mss);
  if (window_scale >= 0)
    word(nop << 24 | uint32_t(tcp_option::window_scale) << 16 | 3 << 8 | uint8_t(window_scale));
  // SACK-permitted takes the place of the two NOPs that align the timestamps.
  const uint32_t sack_ok = uint32_t(tcp_option::sack_permitted) << 24 | 2 << 16;
  if (timestamps) {
    word((sack_permitted ? sack_ok : nop << 24 | nop << 16) | uint32_t(tcp_option::timestamps) << 8 | 10);
    word(ts_value);
    word(ts_echo);
  } else if (sack_permitted) {
    word(sack_ok | nop << 8 | nop);
  }
  if (sack_count) {
    word(nop << 24 | nop << 16 | uint32_t(tcp_option::sack) << 8 | (2 + 8u * sack_count));
    for (uint32_t i = 0; i < sack_count; ++i) {
      word(sack[i].begin);
      word(sack[i].end);
    }
  }
}

}  // namespace solaster::net

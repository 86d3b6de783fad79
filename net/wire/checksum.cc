#include "net/wire/checksum.hh"

#include <algorithm>

#include "net/packet/packet.hh"

namespace solaster::net {

uint64_t checksum_bytes(const std::byte* p, size_t n, uint64_t sum) noexcept {
  unsigned long long carry = 0, s = sum;
  auto add = [&](size_t offset) { s = __builtin_addcll(s, load_raw<uint64_t>(p + offset), carry, &carry); };
  for (; n >= 64; n -= 64, p += 64) {
    add(0);
    add(8);
    add(16);
    add(24);
    add(32);
    add(40);
    add(48);
    add(56);
    s += carry;
    carry = s < carry;
  }
  for (; n >= 8; n -= 8, p += 8)
    add(0);
  s += carry;
  if (s < carry)
    ++s;
  // The rest, in two overlapping-free pieces.
  if (n & 4) {
    s = checksum_add(s, load_raw<uint32_t>(p));
    p += 4;
  }
  if (n & 2) {
    s = checksum_add(s, load_raw<uint16_t>(p));
    p += 2;
  }
  if (n & 1)
    s = checksum_add(s, load8(p));
  return s;
}

uint64_t checksum_packet(const packet& p, uint32_t offset, uint32_t length, uint64_t sum) noexcept {
  if (p.fragment_count() == 1)
    return checksum_bytes(p.front().data() + offset, length, sum);
  checksum_accumulator acc(sum);
  for (uint32_t i = 0; i < p.fragment_count() && length; ++i) {
    const fragment& f = p.frag(i);
    if (offset >= f.size()) {
      offset -= f.size();
      continue;
    }
    const uint32_t n = std::min(f.size() - offset, length);
    acc.add(f.data() + offset, n);
    offset = 0;
    length -= n;
  }
  return acc.sum();
}

}  // namespace solaster::net

// A latency histogram: log-linear buckets, exact below 64 ns, then within 1/32 of the value, up to 2^40 ns (18
// minutes).
//
// Recording is a few instructions and no allocation. Histograms of shards are added up. Units: nanoseconds.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace solaster::mcbench {

class histogram {
 public:
  static constexpr unsigned sub_bits = 5;
  static constexpr unsigned octaves = 40 - sub_bits;

  void record(int64_t ns) noexcept {
    uint64_t v = ns < 0 ? 0 : uint64_t(ns);
    ++_counts[bucket(v)];
    ++_count;
    _sum += v;
    _max = std::max(_max, v);
    _min = std::min(_min, v);
  }
  uint64_t count() const noexcept { return _count; }
  uint64_t max() const noexcept { return _max; }
  uint64_t min() const noexcept { return _count ? _min : 0; }
  double mean() const noexcept { return _count ? double(_sum) / double(_count) : 0; }
  // The value that a fraction `q` of the records does not exceed, rounded up to its bucket's end.
  uint64_t quantile(double q) const noexcept {
    uint64_t rank = std::max<uint64_t>(1, uint64_t(q * double(_count) + 0.5)), seen = 0;
    for (unsigned b = 0; b < _counts.size(); ++b) {
      seen += _counts[b];
      if (seen >= rank && _count)
        return std::min(upper(b), _max);
    }
    return 0;
  }
  histogram& operator+=(const histogram& o) noexcept {
    for (unsigned b = 0; b < _counts.size(); ++b)
      _counts[b] += o._counts[b];
    _count += o._count;
    _sum += o._sum;
    _max = std::max(_max, o._max);
    _min = std::min(_min, o._min);
    return *this;
  }

 private:
  // Values below 2^(sub_bits + 1) are their own bucket; above, the top sub_bits + 1 bits name it.
  static constexpr unsigned bucket(uint64_t v) noexcept {
    if (v < (2u << sub_bits))
      return unsigned(v);
    unsigned shift = unsigned(std::bit_width(v)) - (sub_bits + 1);
    return std::min<unsigned>((shift << sub_bits) + unsigned(v >> shift), (octaves << sub_bits) + (1u << sub_bits) - 1);
  }
  static constexpr uint64_t upper(unsigned b) noexcept {
    if (b < (2u << sub_bits))
      return b;
    unsigned shift = (b >> sub_bits) - 1;
    return ((uint64_t(b) - (uint64_t(shift) << sub_bits) + 1) << shift) - 1;
  }
  std::array<uint64_t, (octaves + 1) << sub_bits> _counts{};
  uint64_t _count = 0, _sum = 0, _max = 0, _min = UINT64_MAX;
};

}  // namespace solaster::mcbench

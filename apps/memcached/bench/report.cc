#include "apps/memcached/bench/report.hh"

#include <fmt/format.h>

namespace solaster::mcbench {

namespace {

double us(uint64_t ns) {
  return double(ns) / 1000;
}

// Printable ASCII but for the two characters that JSON wants escaped.
std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c < ' ' || c > '~') {
      out += fmt::format("\\u{:04x}", unsigned(static_cast<unsigned char>(c)));
    } else {
      out += c;
    }
  }
  return out + '"';
}

double rate_of(const bench_result& r, const run_figures& f) {
  return f.seconds > 0 ? double(r.requests()) / f.seconds : 0;
}

}  // namespace

std::string text_report(const bench_options& o, const bench_result& r, const run_figures& f) {
  std::string s =
      fmt::format("{} requests in {:.2f} s: {:.0f} a second ({} connections, depth {}{})\n", r.requests(), f.seconds,
                  rate_of(r, f), o.connections, o.depth,
                  o.rate > 0 ? fmt::format(", offered {:.0f} a second", o.rate) : std::string(", closed loop"));
  s += fmt::format("latency us: mean {:.1f}  p50 {:.1f}  p90 {:.1f}  p99 {:.1f}  p99.9 {:.1f}  max {:.1f}\n",
                   r.latency.mean() / 1000, us(r.latency.quantile(0.5)), us(r.latency.quantile(0.9)),
                   us(r.latency.quantile(0.99)), us(r.latency.quantile(0.999)), us(r.latency.max()));
  s += fmt::format("gets {} (hits {}, misses {})  sets {}  wrong values {}  errors {}\n", r.gets, r.hits, r.misses,
                   r.sets, r.wrong_values, r.errors);
  s += fmt::format("own CPU: {:.2f} s user, {:.2f} s system\n", f.cpu_user, f.cpu_system);
  if (!r.first_error.empty())
    s += fmt::format("first unexpected answer: {}\n", r.first_error);
  return s;
}

std::string json_report(const bench_options& o, const bench_result& r, const run_figures& f) {
  return fmt::format(
      "{{\"requests\": {}, \"seconds\": {:.6f}, \"rps\": {:.3f}, \"connections\": {}, \"depth\": {}, \"rate\": {}, "
      "\"latency_us\": {{\"mean\": {:.3f}, \"min\": {:.3f}, \"p50\": {:.3f}, \"p90\": {:.3f}, \"p99\": {:.3f}, "
      "\"p999\": {:.3f}, "
      "\"max\": {:.3f}}}, \"gets\": {}, \"sets\": {}, \"hits\": {}, \"misses\": {}, \"wrong_values\": {}, \"errors\": "
      "{}, "
      "\"bytes_sent\": {}, \"bytes_received\": {}, \"cpu_user_s\": {:.6f}, \"cpu_system_s\": {:.6f}, \"first_error\": "
      "{}}}\n",
      r.requests(), f.seconds, rate_of(r, f), o.connections, o.depth, o.rate, r.latency.mean() / 1000,
      us(r.latency.min()), us(r.latency.quantile(0.5)), us(r.latency.quantile(0.9)), us(r.latency.quantile(0.99)),
      us(r.latency.quantile(0.999)), us(r.latency.max()), r.gets, r.sets, r.hits, r.misses, r.wrong_values, r.errors,
      r.bytes_sent, r.bytes_received, f.cpu_user, f.cpu_system,
      r.first_error.empty() ? "null" : json_string(r.first_error));
}

}  // namespace solaster::mcbench

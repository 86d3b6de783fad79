// What mcbench prints at the end: a few lines for people, an object for programs.
#pragma once

#include <string>

#include "apps/memcached/bench/client.hh"

namespace solaster::mcbench {

struct run_figures {
  double seconds = 0;   // measured
  double cpu_user = 0;  // seconds of this process in that time
  double cpu_system = 0;
};

std::string text_report(const bench_options& o, const bench_result& r, const run_figures& f);
std::string json_report(const bench_options& o, const bench_result& r, const run_figures& f);

}  // namespace solaster::mcbench

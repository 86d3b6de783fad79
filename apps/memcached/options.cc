#include "apps/memcached/options.hh"

#include <boost/program_options.hpp>

#include "apps/memcached/number.hh"
#include "framework/app/app.hh"
#include "framework/socket/address.hh"

namespace solaster::memcached {

namespace bpo = boost::program_options;

std::vector<std::string> translate_arguments(int argc, char** argv) {
  std::vector<std::string> out{argv[0]};
  unsigned verbosity = 0;
  for (int i = 1; i < argc; ++i) {
    std::string_view a = argv[i];
    if (a.size() >= 2 && a[0] == '-' && a.find_first_not_of('v', 1) == a.npos) {
      verbosity += unsigned(a.size() - 1);
    } else if (a == "--verbose") {
      ++verbosity;
    } else if (a == "-t" || a == "--threads") {
      out.push_back("--smp");
    } else if (a.starts_with("--threads=")) {
      out.push_back("--smp=" + std::string(a.substr(10)));
    } else if (a.starts_with("-t") && !a.starts_with("--")) {
      out.push_back("--smp=" + std::string(a.substr(2)));
    } else {
      out.emplace_back(a);
    }
  }
  if (verbosity)
    out.push_back("--verbosity=" + std::to_string(verbosity));
  return out;
}

void declare_options(app_template& app) {
  app.add_options()("port,p", bpo::value<unsigned>()->default_value(11211), "TCP port")(
      "listen,l", bpo::value<std::string>()->default_value("0.0.0.0"), "address to listen on")(
      "memory-limit,m", bpo::value<std::string>()->default_value("64"), "memory for items, in megabytes")(
      "conn-limit,c", bpo::value<unsigned>()->default_value(1024), "connections at a time")(
      "max-item-size,I", bpo::value<std::string>()->default_value("1m"), "largest item; k and m are understood")(
      "disable-evictions,M", bpo::bool_switch(), "answer an error when memory is full, do not evict")(
      "udp-port,U", bpo::value<unsigned>()->default_value(0), "there is no UDP: only 0 is accepted")(
      "verbosity", bpo::value<unsigned>()->default_value(0), "as -v so many times: 1 connections, 2 why they failed");
}

uint64_t parse_size(const std::string& text, const char* option) {
  std::string_view digits = text;
  unsigned shift = 0;
  if (!digits.empty()) {
    switch (digits.back()) {
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'm':
      case 'M':
        shift = 20;
        break;
      case 'g':
      case 'G':
        shift = 30;
        break;
    }
  }
  if (shift)
    digits.remove_suffix(1);
  auto n = parse_number<uint64_t>(digits);
  if (!n || *n > (uint64_t(1) << 40) >> shift)
    throw bad_option(std::string(option) + ": not a size: " + text);
  return *n << shift;
}

server_options read_options(app_template& app) {
  auto& c = app.configuration();
  server_options o;
  unsigned port = c["port"].as<unsigned>();
  if (port == 0 || port > 65535)
    throw bad_option("-p: a port is a number from 1 to 65535");
  o.port = uint16_t(port);
  o.listen = c["listen"].as<std::string>();
  if (o.listen == "localhost")
    o.listen = "127.0.0.1";
  if (!ipv4_addr::parse(o.listen))
    throw bad_option("-l: not an IPv4 address: " + o.listen);
  auto megabytes = parse_number<uint64_t>(c["memory-limit"].as<std::string>());
  if (!megabytes || *megabytes == 0 || *megabytes > 1 << 20)
    throw bad_option("-m: a number of megabytes, at least 1");
  o.memory_bytes = *megabytes << 20;
  o.connections_max = c["conn-limit"].as<unsigned>();
  if (o.connections_max == 0)
    throw bad_option("-c: at least one connection");
  uint64_t item = parse_size(c["max-item-size"].as<std::string>(), "-I");
  if (item < 1024)
    throw bad_option("-I: item max size cannot be less than 1024 bytes");
  if (item > 1 << 30)
    throw bad_option("-I: item max size cannot be more than 1 gigabyte");
  if (item > o.memory_bytes / 2)
    throw bad_option("-I: item max size cannot be more than half of the memory (-m)");
  o.item_bytes_max = uint32_t(item);
  o.evict = !c["disable-evictions"].as<bool>();
  if (c["udp-port"].as<unsigned>() != 0)
    throw bad_option("-U: there is no UDP yet: only 0 is accepted");
  o.verbosity = c["verbosity"].as<unsigned>();
  return o;
}

}  // namespace solaster::memcached

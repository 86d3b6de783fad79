// A few hosts, the lines between them and virtual time: it jumps to the next deadline, nothing sleeps, and the same
// seed gives the same run.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/conversation.hh"
#include "tests/sim/tcp_host.hh"

namespace solaster::sim {

class world {
 public:
  explicit world(uint32_t buffer_size = 2048) : _wire(buffer_size) {}
  ~world();

  tcp_host& add_host(const host_config& config);
  // `server` listens on `port`; connections that nobody expects are reset.
  void listen(tcp_host& server, uint16_t port, uint32_t backlog);
  struct conversation {
    std::unique_ptr<side> client, server;
    net::endpoint client_end;
    bool done() const { return client->finished() && (server->finished() || !server->started()); }
  };
  // Opens a connection and lets both sides talk.
  conversation& converse(tcp_host& client, tcp_host& server, uint16_t port, const side_config& client_config,
                         const side_config& server_config, uint64_t seed);

  // Until all conversations are done (true), or virtual time passes `limit`.
  bool run(duration limit);
  // Lets time pass: TIME-WAIT and orphans end.
  void settle(duration span);
  void step();

  instant now() const { return _now; }
  const std::deque<conversation>& conversations() const { return _conversations; }
  void forget_conversations();
  net::fault_counters faults() const;
  uint64_t steps() const { return _steps; }
  // Walks every structure after each n-th step; 0: never.
  void check_every(uint64_t n) { _check_every = n; }
  // Empty, or what is wrong: bytes, ends, invariants.
  std::string verdict() const;

 private:
  instant next_time() const;
  void deliver();
  void poll(tcp_host& h);
  void accept(tcp_host& h, net::tcp::listener* l);

  wire _wire;
  std::vector<std::unique_ptr<tcp_host>> _hosts;
  std::map<std::pair<uint32_t, net::endpoint>, side*> _expected;  // by server's address and client's endpoint
  std::deque<conversation> _conversations;
  std::vector<std::pair<side*, tcp_host*>> _sides;
  instant _now{1'000'000'000};
  uint64_t _steps = 0;
  uint64_t _check_every = 0;
  bool _invalid = false;
};

}  // namespace solaster::sim

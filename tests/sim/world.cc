#include "tests/sim/world.hh"

#include <algorithm>

namespace solaster::sim {

using namespace net;

world::~world() {
  _conversations.clear();
  _hosts.clear();
}

tcp_host& world::add_host(const host_config& config) {
  _hosts.push_back(std::make_unique<tcp_host>(config, _wire));
  return *_hosts.back();
}

void world::listen(tcp_host& server, uint16_t port, uint32_t backlog) {
  const auto l = server.tcp().listen({{}, port}, backlog, nullptr, _now);
  CHECK(l);
}

world::conversation& world::converse(tcp_host& client, tcp_host& server, uint16_t port,
                                     const side_config& client_config, const side_config& server_config,
                                     uint64_t seed) {
  conversation& c = _conversations.emplace_back();
  c.client = std::make_unique<side>(client, client_config, seed * 4 + 1, seed * 2, seed * 2 + 1);
  c.server = std::make_unique<side>(server, server_config, seed * 4 + 3, seed * 2 + 1, seed * 2);
  const auto opened = client.tcp().connect({}, {server.address(), port}, c.client.get(), _now);
  CHECK(opened);
  c.client_end = client.tcp().tuple(*opened).local;
  _expected[{server.address().value, c.client_end}] = c.server.get();
  _sides.emplace_back(c.client.get(), &client);
  _sides.emplace_back(c.server.get(), &server);
  c.client->start(*opened, _now);
  poll(client);
  return c;
}

void world::forget_conversations() {
  _sides.clear();
  _expected.clear();
  _conversations.clear();
}

bool world::run(duration limit) {
  const instant end = _now + limit;
  const auto done = [&] {
    return std::all_of(_conversations.begin(), _conversations.end(), [](const auto& c) { return c.done(); });
  };
  for (;;) {
    for (int i = 0; i < 64 && next_time() <= end; ++i) {
      step();
    }
    if (done()) {
      return true;
    }
    if (next_time() > end || next_time() == instant::never()) {
      return false;
    }
  }
}

void world::settle(duration span) {
  const instant end = _now + span;
  while (next_time() <= end) {
    step();
  }
  _now = std::max(_now, end);
}

void world::step() {
  const instant next = next_time();
  if (next == instant::never()) {
    return;
  }
  _now = std::max(_now, next);
  ++_steps;
  deliver();
  for (auto& h : _hosts) {
    if (h->tcp().next_deadline() <= _now) {
      h->tcp().expire(_now);
    }
  }
  for (auto& [s, h] : _sides) {
    if (s->wake() <= _now) {
      s->pump(_now);
    }
  }
  for (auto& h : _hosts) {
    poll(*h);
  }
  if (_check_every && _steps % _check_every == 0) {
    for (auto& h : _hosts) {
      _invalid |= !h->tcp().is_valid();
    }
  }
}

instant world::next_time() const {
  instant next = instant::never();
  for (const auto& h : _hosts) {
    next = std::min({next, h->tcp().next_deadline(), h->line().next_deadline()});
  }
  for (const auto& [s, h] : _sides) {
    next = std::min(next, s->wake());
  }
  return next;
}

void world::deliver() {
  for (auto& from : _hosts) {
    if (from->line().next_deadline() > _now) {
      continue;
    }
    packet_list burst;
    from->line().take(burst, _now);
    if (_hosts.size() == 2) {
      // The other one, whatever a corrupted envelope says.
      tcp_host& to = from == _hosts[0] ? *_hosts[1] : *_hosts[0];
      to.deliver(std::move(burst), _now);
      continue;
    }
    while (packet_ptr p = burst.pop_front()) {
      const auto to = std::find_if(_hosts.begin(), _hosts.end(),
                                   [&](const auto& h) { return h->address() == tcp_host::destination(*p); });
      if (to != _hosts.end()) {
        packet_list one;
        one.push_back(std::move(p));
        (*to)->deliver(std::move(one), _now);
      }
    }
  }
}

// The order of stack.hh: transmit, events, and again until nothing is new.
void world::poll(tcp_host& h) {
  h.transmit(_now);
  bool any = false;
  for (auto [source, bits] = h.events().pop(); source; std::tie(source, bits) = h.events().pop()) {
    any = true;
    if (source->kind() == event_kind::listener) {
      accept(h, static_cast<tcp::listener*>(source->object()));
    } else if (auto* s = static_cast<side*>(source->cookie)) {
      s->on_event(bits, _now);
    }
  }
  if (any) {
    h.transmit(_now);
  }
}

void world::accept(tcp_host& h, tcp::listener* l) {
  while (const auto c = h.tcp().accept(l, nullptr)) {
    const auto found = _expected.find({h.address().value, h.tcp().tuple(*c).remote});
    if (found == _expected.end() || found->second->started()) {
      h.tcp().abort(*c, _now);
      h.tcp().release(*c, _now);
      continue;
    }
    h.tcp().set_cookie(*c, found->second);
    found->second->start(*c, _now);
  }
}

fault_counters world::faults() const {
  fault_counters sum;
  for (const auto& h : _hosts) {
    sum += h->line().counters();
  }
  return sum;
}

std::string world::verdict() const {
  if (_invalid) {
    return "a structure is not valid";
  }
  size_t i = 0;
  for (const auto& c : _conversations) {
    const std::string name = "conversation " + std::to_string(i++) + ": ";
    for (const side* s : {c.client.get(), c.server.get()}) {
      const side* peer = s == c.client.get() ? c.server.get() : c.client.get();
      const std::string who = name + (s == c.client.get() ? "client" : "server");
      if (!s->error().empty()) {
        return who + ": " + s->error();
      }
      if (s->read() > peer->written()) {
        return who + " read more than was written";
      }
      if (!c.client->cut_short() && !c.server->cut_short() && c.server->started()) {
        if (!s->eof() || s->read() != peer->written()) {
          return who + " read " + std::to_string(s->read()) + " of " + std::to_string(peer->written()) +
                 (s->eof() ? "" : ", no end");
        }
      }
      // The end is where the peer's writing ended, whatever happened.
      if (s->eof() && s->read() != peer->written()) {
        return who + " saw the end at " + std::to_string(s->read()) + " of " + std::to_string(peer->written());
      }
    }
  }
  return "";
}

}  // namespace solaster::sim

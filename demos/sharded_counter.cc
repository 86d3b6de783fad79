// Counts words on every shard: each word has a home shard by its hash, and only that shard touches its counter.
//
//     build/release/demos/sharded_counter --smp 2 --port 7778
//     printf 'a b a\n' | nc localhost 7778        answers "a 1", "b 1", "a 2"
#include "framework/app/app.hh"
#include "framework/log/log.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/sharded.hh"
#include "framework/socket/api.hh"
#include "framework/sync/gate.hh"
#include "framework/sync/sleep.hh"
#include "framework/sync/stop_signal.hh"

#include <boost/program_options.hpp>
#include <list>
#include <string>
#include <unordered_map>

using namespace solaster;

static logger log_("counter");

constexpr size_t word_max = 250;
constexpr size_t words_max = 100'000;  // a shard
constexpr auto patience = seconds(2);  // for clients that do not read, at the end

// What one shard counts.
class counters {
  std::unordered_map<std::string, uint64_t> _counts;

 public:
  // The new count, or 0 when there is no room for another word.
  uint64_t add(const std::string& word) {
    auto it = _counts.find(word);
    if (it == _counts.end()) {
      if (_counts.size() >= words_max) {
        return 0;
      }
      it = _counts.emplace(word, 0).first;
    }
    return ++it->second;
  }
};

// What one shard serves.
class front {
  sharded<counters>& _counters;
  server_socket _listener;
  std::list<connected_socket> _connections;
  gate _running;

  future<> count(std::string word, output_stream<char>& out) {
    shard_id home = std::hash<std::string>()(word) % smp::count;
    uint64_t n = co_await _counters.invoke_on(home, &counters::add, word);
    co_await out.write(word + " " + std::to_string(n) + "\n");
  }

  future<> serve(std::list<connected_socket>::iterator connection) {
    auto in = connection->input();
    auto out = connection->output();
    try {
      std::string word;
      while (auto data = co_await in.read()) {
        for (char c : data.view()) {
          if (c > ' ' && word.size() < word_max) {
            word += c;
          } else if (c <= ' ' && !word.empty()) {
            co_await count(std::exchange(word, {}), out);
          }
        }
        co_await out.flush();
      }
    } catch (const std::exception& e) {
      log_.debug("a connection failed: {}", e.what());
    }
    (co_await coroutine::as_future(out.close())).ignore_ready_future();
    (co_await coroutine::as_future(in.close())).ignore_ready_future();
    _connections.erase(connection);
  }

  future<> accept_all() {
    while (!_running.is_closed()) {
      auto accepted = co_await coroutine::as_future(_listener.accept());
      if (accepted.failed() || _running.is_closed()) {
        accepted.ignore_ready_future();
        co_await sleep(milliseconds(10));
        continue;
      }
      auto connection = _connections.insert(_connections.end(), accepted.get().connection);
      spawn(_running, [this, connection] { return serve(connection); });
    }
  }

 public:
  explicit front(sharded<counters>* c) : _counters(*c) {}

  future<> listen(uint16_t port) {
    _listener = engine().net().listen(ipv4_addr(port), {.nodelay = true});
    spawn(_running, [this] { return accept_all(); });
    return make_ready_future<>();
  }

  future<> stop() {
    auto done = _running.close();
    if (_listener) {
      _listener.abort_accept();
    }
    for (auto& c : _connections) {
      c.shutdown(patience);  // its reader sees the end; its writer has a while to finish
    }
    return done;
  }
};

int main(int argc, char** argv) {
  namespace bpo = boost::program_options;
  app_template app({.name = "sharded_counter", .description = "Counts the words that it is sent."});
  app.add_options()("port,p", bpo::value<uint16_t>()->default_value(7778), "TCP port");
  return app.run(argc, argv, [&]() -> future<> {
    auto port = app.configuration()["port"].as<uint16_t>();
    stop_signal stop;
    sharded<counters> words;
    sharded<front> server;
    co_await words.start();
    co_await server.start(&words);
    auto listening = co_await coroutine::as_future(server.invoke_on_all(&front::listen, port));
    if (!listening.failed()) {
      log_.info("listening on port {} with {} shards", port, smp::count);
      co_await stop.wait();
    }
    co_await server.stop();
    co_await words.stop();
    co_await std::move(listening);
  });
}

// Sends back what it is sent, on every shard.
//
//     build/release/demos/echo --port 7777
//     scripts/run.py demos/echo
//
// Loops: one coroutine accepts on each shard, one serves each connection. The gate waits for the connections at the
// end.
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

using namespace solaster;

static logger log_("echo");

constexpr auto patience = seconds(2);  // for clients that do not read, at the end

class echo_server {
  server_socket _listener;
  std::list<connected_socket> _connections;
  gate _running;

  future<> serve(std::list<connected_socket>::iterator connection) {
    auto in = connection->input();
    auto out = connection->output();
    try {
      while (auto data = co_await in.read()) {
        co_await out.write(std::move(data));
        co_await out.flush();
      }
    } catch (const std::exception& e) {
      log_.debug("a connection failed: {}", e.what());
    }
    // A close that fails says that the peer has gone: nothing is left to do.
    (co_await coroutine::as_future(out.close())).ignore_ready_future();
    (co_await coroutine::as_future(in.close())).ignore_ready_future();
    _connections.erase(connection);
  }

  future<> accept_all() {
    for (;;) {
      auto accepted = co_await coroutine::as_future(_listener.accept());
      if (_running.is_closed()) {
        accepted.ignore_ready_future();
        co_return;
      }
      if (accepted.failed()) {
        log_.warn("a connection could not be accepted: {}", describe(accepted.get_exception()));
        co_await sleep(milliseconds(10));  // out of memory, say: that passes
        continue;
      }
      auto connection = _connections.insert(_connections.end(), accepted.get().connection);
      spawn(_running, [this, connection] { return serve(connection); });
    }
  }

 public:
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
  app_template app({.name = "echo", .description = "Sends back what it is sent."});
  app.add_options()("port,p", bpo::value<uint16_t>()->default_value(7777), "TCP port");
  return app.run(argc, argv, [&]() -> future<> {
    auto port = app.configuration()["port"].as<uint16_t>();
    stop_signal stop;
    sharded<echo_server> server;
    co_await server.start();
    auto listening = co_await coroutine::as_future(server.invoke_on_all(&echo_server::listen, port));
    if (!listening.failed()) {
      log_.info("listening on port {} with {} shards", port, smp::count);
      co_await stop.wait();
    }
    co_await server.stop();
    co_await std::move(listening);
  });
}

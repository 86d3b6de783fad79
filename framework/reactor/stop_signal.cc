#include "framework/reactor/stop_signal.hh"

#include "framework/app/log.hh"
#include "framework/reactor/reactor.hh"

#include <csignal>
#include <cstdlib>

namespace solaster {

static logger stop_log("stop");

stop_signal::stop_signal() {
  engine().handle_signal(SIGINT, [this] { on_signal(); });
  engine().handle_signal(SIGTERM, [this] { on_signal(); });
}

stop_signal::~stop_signal() {
  // Whatever comes from now on ends the program the plain way.
  engine().handle_signal(SIGINT, [] { engine().exit(0); });
  engine().handle_signal(SIGTERM, [] { engine().exit(0); });
}

void stop_signal::on_signal() {
  if (stopping()) {
    stop_log.error("a second signal while stopping: giving up");
    std::_Exit(1);
  }
  _abort.request_abort();
  _arrived.broadcast();
}

}  // namespace solaster

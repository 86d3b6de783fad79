#include "framework/sync/stop_signal.hh"

#include "framework/log/log.hh"
#include "framework/reactor/engine.hh"
#include "framework/reactor/reactor.hh"

#include <csignal>

namespace solaster {

static logger stop_log("stop");

stop_signal::stop_signal() {
  engine().handle_signal(SIGINT, [this] { on_signal(); });
  engine().handle_signal(SIGTERM, [this] { on_signal(); });
}

stop_signal::~stop_signal() {
  // Whatever comes from now on ends the program the plain way; if one came already the next does so at once.
  if (!stopping()) {
    internal::stop_on_signals();
  }
}

void stop_signal::on_signal() {
  if (stopping()) {
    return;  // both came before the loop looked
  }
  stop_log.info("stopping; a second signal ends the program at once");
  internal::restore_default_stop();
  _abort.request_abort();
  _arrived.broadcast();
}

}  // namespace solaster

#include "framework/reactor/signals.hh"

#include "framework/host/direct.hh"
#include "framework/reactor/reactor.hh"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <system_error>

namespace solaster::internal {
namespace {

std::atomic<uint64_t> arrived{0};
uint64_t claimed_directly = 0;  // signals that the direct interface collects; shard 0's

void on_signal(int signo) {
  int saved = errno;
  arrived.fetch_or(SOLASTER_SIGNAL_BIT(signo), std::memory_order_release);  // partner: take_signals
  wake_shard(0);
  errno = saved;
}

}  // namespace

void claim_signal(int signo) {
  uint64_t bit = SOLASTER_SIGNAL_BIT(signo);
  if (auto* direct = find_direct_interface(); direct && direct->signals_claim(claimed_directly | bit, 0) == 0) {
    claimed_directly |= bit;
    return;
  }
  struct sigaction action{};
  action.sa_handler = &on_signal;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  if (sigaction(signo, &action, nullptr) != 0) {
    throw std::system_error(errno, std::system_category(), "sigaction");
  }
}

uint64_t take_signals(bool thorough) noexcept {
  uint64_t bits = 0;
  if (arrived.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    bits = arrived.exchange(0, std::memory_order_acquire);  // partner: on_signal
  }
  if (thorough && claimed_directly != 0) {
    bits |= find_direct_interface()->signals_take();
  }
  return bits;
}

bool signals_came() noexcept {
  return arrived.load(std::memory_order_relaxed) != 0;
}

void restore_default(int signo) noexcept {
  uint64_t bit = SOLASTER_SIGNAL_BIT(signo);
  if (claimed_directly & bit) {
    claimed_directly &= ~bit;
    find_direct_interface()->signals_claim(claimed_directly, 0);
  }
  signal(signo, SIG_DFL);
}

}  // namespace solaster::internal

#include "framework/reactor/backend/preemption_timer.hh"

#include <pthread.h>
#include <unistd.h>
#include <cerrno>
#include <system_error>

namespace solaster {

static void on_preemption(int) {
  internal::hot.preempt->store(1, std::memory_order_relaxed);
}

preemption_timer::preemption_timer() {
  struct sigaction action{};
  action.sa_handler = &on_preemption;
  action.sa_flags = SA_RESTART;
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = signal_number();
  event._sigev_un._tid = gettid();
  if (sigaction(signal_number(), &action, nullptr) != 0 || timer_create(CLOCK_MONOTONIC, &event, &_timer) != 0) {
    throw std::system_error(errno, std::system_category(), "the shard's preemption timer");
  }
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, signal_number());
  pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
  pthread_sigmask(SIG_SETMASK, nullptr, &_sleeping_mask);
  sigaddset(&_sleeping_mask, signal_number());
}

preemption_timer::~preemption_timer() {
  timer_delete(_timer);
}

void preemption_timer::arm(instant at) noexcept {
  itimerspec when{};
  when.it_value = {.tv_sec = at.ns / 1'000'000'000, .tv_nsec = at.ns % 1'000'000'000};
  timer_settime(_timer, TIMER_ABSTIME, &when, nullptr);
}

}  // namespace solaster

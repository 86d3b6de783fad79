#include "framework/socket/native/tcp_socket.hh"
#include "framework/socket/native/wrap.hh"

#include <array>
#include <system_error>

namespace solaster::native {

std::exception_ptr make_error(errc e, const char* what) noexcept {
  try {
    return std::make_exception_ptr(std::system_error(int(e), std::generic_category(), what));
  } catch (...) {
    return std::current_exception();
  }
}

connection::~connection() {
  if (!usable()) {
    return;
  }
  driver& d = *driver::local();
  d.tcp().set_cookie(_handle, nullptr);
  d.tcp().release(_handle, d.now());
  d.touch();
}

future<std::shared_ptr<connection>> connection::open(net::endpoint local, net::endpoint remote,
                                                     abort_source* giving_up) {
  using result = std::shared_ptr<connection>;
  if (giving_up && giving_up->abort_was_requested()) {
    return make_exception_future<result>(make_error(errc::connaborted, "connect"));
  }
  driver& d = *driver::local();
  auto self = std::make_shared<connection>();
  self->_opening = std::make_unique<opening>();
  auto handle = d.tcp().connect(local, remote, self->cookie(), d.now());
  if (!handle) {
    return make_exception_future<result>(make_error(handle.error(), "connect"));
  }
  self->_handle = *handle;
  d.touch();
  if (giving_up) {
    self->_opening->watch = giving_up->subscribe([c = self.get()] { c->abort(); });
  }
  auto opened = self->_opening->caller.get_future();
  d.keep(std::move(self));  // whether somebody waits or not
  return opened;
}

// Why nothing more comes or goes.
std::exception_ptr connection::failure() const noexcept {
  if (_aborted || !usable()) {
    return make_error(errc::connaborted, "connection");
  }
  if (auto e = tcp().error(_handle)) {
    return make_error(*e, "connection");
  }
  return nullptr;
}

void connection::on_event(uint32_t bits) noexcept {
  if (_opening) [[unlikely]] {
    opened(bits);
    return;  // nobody reads or writes yet, and perhaps nobody has it any more
  }
  constexpr uint32_t over = net::connection_failed | net::connection_closed;
  if (bits & (net::connection_readable | over)) {
    _look_first = true;
    if (_reading) {
      resume_read();
    }
  }
  if (_writing && (bits & (net::connection_writable | over))) {
    resume_write();
  }
  DCHECK(is_valid());
}

void connection::opened(uint32_t bits) noexcept {
  constexpr uint32_t over = net::connection_failed | net::connection_closed;
  if (!(bits & (net::connection_established | over))) {
    return;
  }
  auto self = shared_from_this();
  driver::local()->let_go(this);
  auto o = std::exchange(_opening, nullptr);
  if (bits & net::connection_established) {
    o->caller.set_value(std::move(self));
  } else {
    auto ex = failure();
    o->caller.set_exception(ex ? ex : make_error(errc::connaborted, "connect"));
  }
}

// ------------------------------------------------------------------ reading

bool connection::take(temporary_buffer<char>& out) {
  driver& d = *driver::local();
  net::tcp::layer& tcp = d.tcp();
  net::fragment f;
  auto got = tcp.receive(_handle, {&f, 1}, SIZE_MAX);
  if (!got || *got == 0) {
    return false;
  }
  size_t size = f.size();
  out = to_temporary_buffer(std::move(f));
  tcp.consume(_handle, size, d.now());
  d.touch();
  return true;
}

future<temporary_buffer<char>> connection::read() {
  if (_look_first) {
    return read_what_is_there();
  }
  if (_reading) [[unlikely]] {
    return make_exception_future<temporary_buffer<char>>(make_error(errc::busy, "two readers of one connection"));
  }
  return _reading.emplace().get_future();
}

// The stack may have something, or nothing for ever; if it has nothing yet, its next event says so.
future<temporary_buffer<char>> connection::read_what_is_there() {
  if (_input_shut) {
    return make_ready_future<temporary_buffer<char>>();
  }
  temporary_buffer<char> buf;
  if (usable() && !_aborted && take(buf)) {
    return make_ready_future<temporary_buffer<char>>(std::move(buf));
  }
  if (usable() && !_aborted && tcp().at_eof(_handle)) {
    return make_ready_future<temporary_buffer<char>>();
  }
  if (auto ex = failure()) {
    return make_exception_future<temporary_buffer<char>>(std::move(ex));
  }
  _look_first = false;
  return read();
}

void connection::resume_read() noexcept {
  try {
    net::tcp::layer& tcp = driver::local()->tcp();
    temporary_buffer<char> buf;
    if (take(buf)) {
      // Mostly that was all, and the reader's next call need not ask.
      _look_first = tcp.readable_bytes(_handle) != 0 || tcp.at_eof(_handle) || tcp.error(_handle);
      _reading->set_value(std::move(buf));
    } else if (tcp.at_eof(_handle)) {
      _reading->set_value(temporary_buffer<char>());
    } else if (auto ex = failure()) {
      _reading->set_exception(std::move(ex));
    } else {
      _look_first = false;
      return;  // a hint that came to nothing
    }
  } catch (...) {
    _reading->set_exception(std::current_exception());
  }
  _reading.reset();  // setting it has queued a task and called nobody
}

void connection::shutdown_input() noexcept {
  if (std::exchange(_input_shut, true)) {
    return;
  }
  _look_first = true;
  if (_reading) {
    auto reader = std::move(*_reading);
    _reading.reset();
    reader.set_value(temporary_buffer<char>());
  }
  if (usable()) {
    tcp().close_receive(_handle, driver::local()->now());
    driver::local()->touch();
  }
}

// ------------------------------------------------------------------ writing

void connection::add_pending(temporary_buffer<char> buf) {
  if (buf.empty()) {
    return;
  }
  driver& d = *driver::local();
  fragment_source source(std::move(buf), d.memory());
  try {
    while (net::fragment f = source.next()) {
      _pending.push_back(std::move(f));
    }
  } catch (...) {
    _pending.clear();  // half of a put is not sent
    throw;
  }
  d.stats().copied_bytes += source.copied_bytes();
}

// Hands what is pending to the stack. again: it is full.
errc connection::send_pending() noexcept {
  driver& d = *driver::local();
  d.touch();
  while (!_pending.empty()) {
    std::array<net::fragment, 16> some;
    size_t n = 0;
    for (; n < some.size() && !_pending.empty(); ++n) {
      some[n] = std::move(_pending.front());
      _pending.pop_front();
    }
    auto sent = d.tcp().send(_handle, {some.data(), n}, d.now());
    // What was not taken goes back to the front, in order.
    for (size_t i = n; i-- > 0;) {
      if (some[i] && !some[i].empty()) {
        _pending.push_front(std::move(some[i]));
      }
    }
    if (!sent) {
      return sent.error();
    }
    if (!_pending.empty() && *sent == 0) {
      return errc::again;
    }
  }
  return errc{};
}

future<> connection::start_sending() {
  errc e = send_pending();
  if (e == errc{}) [[likely]] {
    return make_ready_future<>();
  }
  if (e == errc::again) {
    return _writing.emplace().get_future();
  }
  _pending.clear();
  auto ex = failure();
  return make_exception_future<>(ex ? std::move(ex) : make_error(e, "send"));
}

future<> connection::write(temporary_buffer<char> buf) {
  if (_output_shut || !usable() || _aborted) {
    return make_exception_future<>(_aborted ? failure() : make_error(errc::pipe, "send"));
  }
  driver& d = *driver::local();
  if (!buf.empty() && buf.size() <= send_chunk && _pending.empty() &&
      d.memory().translate(buf.get(), buf.size()).reachable()) [[likely]] {
    net::fragment f = fragment_source::whole(std::move(buf));
    d.touch();
    (void)d.tcp().send(_handle, {&f, 1}, d.now());
    if (f.empty()) [[likely]] {
      return make_ready_future<>();
    }
    _pending.push_back(std::move(f));  // the stack is full, or the connection is dead: that is found out below
  } else if (_writing) {
    return make_exception_future<>(make_error(errc::busy, "two writers on one connection"));
  } else {
    add_pending(std::move(buf));
  }
  return start_sending();
}

future<> connection::write(std::vector<temporary_buffer<char>> bufs) {
  if (_output_shut || !usable() || _aborted) {
    return make_exception_future<>(_aborted ? failure() : make_error(errc::pipe, "send"));
  }
  if (_writing) {
    return make_exception_future<>(make_error(errc::busy, "two writers on one connection"));
  }
  for (auto& buf : bufs) {
    add_pending(std::move(buf));
  }
  return start_sending();
}

void connection::resume_write() noexcept {
  errc e = send_pending();
  if (e == errc::again) {
    if (auto ex = failure()) {
      e = errc::pipe;  // dead: it will never have room
    } else {
      return;
    }
  }
  auto writer = std::move(*_writing);
  _writing.reset();
  if (e == errc{}) {
    writer.set_value();
    if (_output_shut) {
      shutdown_output();
    }
  } else {
    _pending.clear();
    auto ex = failure();
    writer.set_exception(ex ? std::move(ex) : make_error(e, "send"));
  }
  resolve_closers();
}

void connection::resolve_closers() noexcept {
  for (auto& c : _closing) {
    c.set_value();
  }
  _closing.clear();
}

void connection::shutdown_output() noexcept {
  _output_shut = true;
  if (_writing || _fin_given || !usable()) {
    return;  // a put under way ends first
  }
  DCHECK(is_valid());
  _fin_given = true;
  tcp().close(_handle, driver::local()->now());
  driver::local()->touch();
}

future<> connection::close_output() {
  shutdown_output();
  return _writing ? _closing.emplace_back().get_future() : make_ready_future<>();
}

void connection::shutdown(delay patience) noexcept {
  shutdown_input();
  try {
    _patience = std::make_unique<timer<>>([this] { abort(); });
    _patience->arm(patience);
  } catch (...) {
    abort();  // no memory to wait with
  }
}

void connection::abort() noexcept {
  if (std::exchange(_aborted, true)) {
    return;
  }
  _look_first = true;
  if (usable()) {
    tcp().abort(_handle, driver::local()->now());
    driver::local()->touch();
  }
  _pending.clear();
  if (_reading) {
    std::exchange(_reading, std::nullopt)->set_exception(failure());
  }
  if (_writing) {
    std::exchange(_writing, std::nullopt)->set_exception(failure());
  }
  resolve_closers();
}

}  // namespace solaster::native

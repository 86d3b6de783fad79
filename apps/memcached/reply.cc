#include "apps/memcached/reply.hh"

namespace solaster::memcached {

void reply::append_reference(cache& owner, item* i, bool with_cas) {
  size_t skip = with_cas ? i->head().size() : 0;
  auto bytes = owner.lend(i, skip);
  _references.reserve(_references.size() + 1);  // nothing fails from here on
  append("VALUE ");
  if (with_cas)
    commit(write_cas_head(room_for(i->head().size() + 1 + decimal_digits_max), i));
  insert(std::move(bytes));
}

void reply::take(std::vector<temporary_buffer<char>>& out) {
  std::vector<temporary_buffer<char>> taken;
  taken.reserve(2 * _references.size() + 1);
  out.reserve(out.size() + 2 * _references.size() + 1);
  size_t at = 0;
  for (size_t next = 0; next <= _references.size(); ++next) {
    size_t end = next < _references.size() ? _references[next].at : _text_size;
    if (end > at)
      taken.push_back(temporary_buffer<char>::copy_of(text().substr(at, end - at)));
    at = end;
    if (next < _references.size())
      taken.emplace_back();  // filled below, when nothing can fail any more
  }
  auto reference = _references.begin();
  for (auto& piece : taken)
    out.push_back(piece.empty() ? std::move((reference++)->bytes) : std::move(piece));
  _references.clear();
  _text_size = _referenced = 0;
}

temporary_buffer<char> reply::flatten() const {
  temporary_buffer<char> all(size());
  char* p = all.get_write();
  size_t at = 0;
  auto copy = [&p](std::string_view bytes) {
    if (!bytes.empty())
      std::memcpy(p, bytes.data(), bytes.size());
    p += bytes.size();
  };
  for (auto& r : _references) {
    copy(text().substr(at, r.at - at));
    copy(r.bytes.view());
    at = r.at;
  }
  copy(text().substr(at));
  return all;
}

}  // namespace solaster::memcached

// The initrd, a cpio archive in "newc" format, as files of the root directory. Contents are not copied.
//
// Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
// Errors: inval for a malformed archive, nomem. An empty archive is fine.

#include <cstring>

#include "kernel/fs/path.hh"
#include "kernel/fs/ramfs.hh"

namespace solaster::kernel::fs {

namespace {

constexpr size_t header_bytes = 110;
constexpr std::string_view trailer = "TRAILER!!!";

struct cpio_entry {
  uint32_t mode;
  std::string_view name;
  std::span<const uint8_t> content;
  int64_t modified;  // seconds since 1970; 0: the archive does not say
};

// Field `index` of the header: 8 hexadecimal digits. -1: not digits.
int64_t header_field(const char* header, int index) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) {
    char c = header[6 + index * 8 + i];
    unsigned digit = c >= '0' && c <= '9'                     ? unsigned(c - '0')
                     : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? unsigned((c | 0x20) - 'a' + 10)
                                                              : 16;
    if (digit == 16)
      return -1;
    value = value << 4 | digit;
  }
  return int64_t(value);
}

// Cuts one entry off the front of `archive`; checks every length against what is there.
result<cpio_entry> next_entry(std::span<const uint8_t>& archive, size_t& position) {
  auto rest = archive.subspan(position);
  if (rest.size() < header_bytes)
    return errc::inval;
  // SAFETY: text; at least header_bytes are there.
  auto* header = reinterpret_cast<const char*>(rest.data());
  if (std::memcmp(header, "070701", 6) != 0 && std::memcmp(header, "070702", 6) != 0)
    return errc::inval;
  int64_t mode = header_field(header, 1), modified = header_field(header, 5), file_bytes = header_field(header, 6),
          name_bytes = header_field(header, 11);
  if (mode < 0 || modified < 0 || file_bytes < 0 || name_bytes < 1)
    return errc::inval;
  size_t content_at = align_up(header_bytes + size_t(name_bytes), 4);
  if (content_at > rest.size() || size_t(file_bytes) > rest.size() - content_at)
    return errc::inval;
  cpio_entry e;
  e.mode = uint32_t(mode);
  e.modified = modified;
  e.name = {header + header_bytes, size_t(name_bytes) - 1};
  e.content = rest.subspan(content_at, size_t(file_bytes));
  size_t total = align_up(content_at + size_t(file_bytes), 4);
  position += total < rest.size() ? total : rest.size();
  return e;
}

// The directory that holds the last component; those on the way are made.
result<ref<node>> directory_for(node& root, std::string_view& name) {
  ref<node> at(&root);
  for (;;) {
    while (name.starts_with('/') || name.starts_with("./"))
      name.remove_prefix(name.front() == '/' ? 1 : 2);
    size_t cut = name.find('/');
    if (cut == std::string_view::npos)
      return at;
    auto component = name.substr(0, cut);
    name.remove_prefix(cut + 1);
    auto child = at->find_child(component);
    if (!child) {
      child = TRY(at->make_directory(0755));
      TRY(at->add_child(component, *child));
    }
    at = *child;
  }
}

status add_entry(node& root, const cpio_entry& e) {
  auto name = e.name;
  auto directory = TRY(directory_for(root, name));
  if (name.empty() || name == ".")
    return {};
  ref<node> made;
  switch (e.mode & abi::s_ifmt) {
    case abi::s_ifreg:
      made = make_ref<ram_file>(e.mode & 07777, e.content);
      break;
    case abi::s_ifdir:
      made = make_ref<ram_directory>(e.mode & 07777);
      break;
    case abi::s_iflnk:
      // SAFETY: bytes as text.
      made = make_ref<ram_symlink>(std::string_view(reinterpret_cast<const char*>(e.content.data()), e.content.size()));
      break;
    default:
      return {};  // device nodes: /dev is the kernel's
  }
  if (!made)
    return errc::nomem;
  if (int64_t ns = e.modified * 1'000'000'000)
    made->set_times(&ns, &ns);
  auto added = directory->add_child(name, made);
  if (!added && added.error() != errc::exist)
    return added;
  return {};
}

}  // namespace

status populate_initrd(node& root, std::span<const std::byte> initrd) {
  // SAFETY: bytes as bytes.
  std::span<const uint8_t> archive(reinterpret_cast<const uint8_t*>(initrd.data()), initrd.size());
  size_t position = 0;
  while (position < archive.size()) {
    if (archive[position] == 0) {  // padding between concatenated archives
      position++;
      continue;
    }
    auto e = TRY(next_entry(archive, position));
    if (e.name != trailer)
      TRY(add_entry(root, e));
  }
  return {};
}

}  // namespace solaster::kernel::fs

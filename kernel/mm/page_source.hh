// What the pages of a file mapping come from: a file system's file, seen from below.
//
// A shared mapping maps the file's own frames, so what is written by any way is seen by every other. A private one
// takes a copy of a page at its first touch. Owns: the source owns its frames. Borrows: page tables borrow them until
// forget_source_pages(). Context: thread. The functions are called with the address space's mutex held: they must not
// touch program memory, and a source must not hold a lock that they take while it does. Errors: errc::nomem;
// errc::overflow for a page behind the end (SIGBUS).
#pragma once

#include "kernel/lib/errno.hh"
#include "kernel/lib/text.hh"
#include "kernel/mm/frames.hh"

namespace solaster::kernel::mm {

struct area;

class page_source {
 public:
  virtual void add_ref() const = 0;
  virtual void drop_ref() const = 0;
  // The frame that holds page `index`, made if the file has a hole there. It stays until forget_source_pages().
  virtual result<phys_addr> shared_page(u64 index) = 0;
  // The page's bytes now, zeros behind the file's end.
  virtual status copy_page(u64 index, std::byte* to) = 0;
  // The file's name, for /proc/self/maps.
  virtual void put_name(text& out) const = 0;

  area* mapped_by = nullptr;  // the areas that map it; the address space's mutex guards the list

 protected:
  ~page_source() = default;
};

// The file became shorter: pages from `first` on are in no mapping any more when this returns, and their next touch
// asks the source again. Takes the address space's mutex.
void forget_source_pages(page_source& source, u64 first);

}  // namespace solaster::kernel::mm

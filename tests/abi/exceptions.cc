// C++ exceptions: through frames, in threads, across std::exception_ptr, with destructors on the way.
#include <cstdio>
#include <exception>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct counted {
  static inline int live = 0;
  counted() { live++; }
  ~counted() { live--; }
};

static int deep(int n) {
  counted c;
  if (n == 0)
    throw std::runtime_error("from the bottom");
  return deep(n - 1) + 1;
}

int main() {
  try {
    deep(100);
  } catch (const std::exception& e) {
    std::printf("caught: %s, live %d\n", e.what(), counted::live);
  }
  std::vector<std::thread> all;
  std::vector<std::string> said(4);
  for (int i = 0; i < 4; i++)
    all.emplace_back([&said, i] {
      for (int n = 0; n < 200; n++)
        try {
          deep(i + n % 5);
        } catch (const std::runtime_error& e) {
          said[size_t(i)] = std::string(e.what()) + " in " + std::to_string(i);
        }
    });
  for (auto& t : all)
    t.join();
  for (auto& s : said)
    std::printf("%s\n", s.c_str());
  std::exception_ptr kept;
  std::thread([&] {
    try {
      throw std::out_of_range("kept");
    } catch (...) {
      kept = std::current_exception();
    }
  }).join();
  try {
    std::rethrow_exception(kept);
  } catch (const std::out_of_range& e) {
    std::printf("rethrown: %s\n", e.what());
  }
  auto f = std::async(std::launch::async, [] { return std::vector<int>().at(3); });
  try {
    f.get();
  } catch (const std::out_of_range&) {
    std::printf("through a future\n");
  }
  try {
    auto* volatile p = new char[size_t(1) << 60];
    delete[] p;
  } catch (const std::bad_alloc& e) {
    std::printf("%s\n", e.what());
  }
  std::map<std::string, int> words;
  std::istringstream in("to be or not to be");
  for (std::string w; in >> w;)
    words[w]++;
  for (auto& [w, n] : words)
    std::cout << w << ' ' << n << '\n';
  std::cout << std::hex << 255 << ' ' << 3.25 << std::endl;
  return 0;
}

// What long work may be asked for from outside: by a signal's handler, or by another thread.
#pragma once

#include <atomic>

namespace densetree {

struct Requests {
  std::atomic<bool> stop = false;                         // save what is done and return
  std::atomic<bool> save = false;                         // save and go on; taken back when it has been done
  static_assert(std::atomic<bool>::is_always_lock_free);  // so that a handler may set them
};

}  // namespace densetree

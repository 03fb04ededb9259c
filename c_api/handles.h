// What is behind the handles of densetree.h, and the way in: every function of the C interface is a call of guarded().
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "c_api/densetree.h"
#include "kernels/core/error.h"
#include "kernels/device.h"
#include "nn/model.h"
#include "nn/trained_model.h"
#include "tree/calibration.h"

namespace densetree::c_api {

// An Error with its code. Others get the code that their function gives to errors.
class Fault : public Error {
 public:
  Fault(densetree_code code, const std::string& message) : Error(message), code_(code) {}
  densetree_code code() const { return code_; }

 private:
  densetree_code code_;
};

template <class... Args>
[[noreturn]] void refuse(densetree_code code, fmt::format_string<Args...> format, Args&&... args) {
  throw Fault(code, fmt::format(format, std::forward<Args>(args)...));
}

// Throws the Fault DENSETREE_INVALID_ARGUMENT where an argument is not as it has to be.
template <class... Args>
void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]] {
    refuse(DENSETREE_INVALID_ARGUMENT, format, std::forward<Args>(args)...);
  }
}

// The status of what the exception that is being handled says; errors without a code get this one.
densetree_status* status_of_exception(densetree_code of_errors) noexcept;

// Null, or the status of what the body threw.
template <class Body>
densetree_status* guarded(densetree_code of_errors, Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (...) {
    return status_of_exception(of_errors);
  }
}

// Where the arguments are at fault for any Error of the body.
template <class Body>
auto on_arguments(Body&& body) {
  try {
    return body();
  } catch (const Fault&) {
    throw;
  } catch (const OutOfMemory&) {
    throw;
  } catch (const Error& error) {
    refuse(DENSETREE_INVALID_ARGUMENT, "{}", error.what());
  }
}

// ---- Arguments -----------------------------------------------------------------------------------

template <class T>
T& at(T* pointer, const char* name) {
  require(pointer != nullptr, "{} is null", name);
  require(reinterpret_cast<std::uintptr_t>(pointer) % alignof(T) == 0, "{} is at {}, which is not aligned to {} bytes",
          name, static_cast<const void*>(pointer), alignof(T));
  return *pointer;
}

// A place for a handle, set to null until there is one.
template <class T>
T*& made_at(T** pointer, const char* name) {
  return at(pointer, name) = nullptr;
}

// The first `needed` elements of an array of the caller, which says its size: an input has exactly as many, room for
// results at least.
enum class Size : std::uint8_t { kAtLeast, kExactly };
template <class T>
std::span<T> buffer(T* data, std::size_t size, std::size_t needed, const char* name, Size rule) {
  at(data, name);
  require(rule == Size::kExactly ? size == needed : size >= needed, "{} has {} elements; it must have {}{}", name, size,
          rule == Size::kExactly ? "" : "at least ", needed);
  return {data, needed};
}

// Throws Fault where a struct is smaller than its first version, which all structs still are in.
void require_struct_size(std::size_t size, std::size_t known, const char* name);
// Throws Fault where a struct of a later version sets fields that are not known here.
void refuse_unknown_fields(const void* given, std::size_t size, std::size_t known, const char* name);

template <class T>
T read_struct(const T* given, const char* name) {
  const std::size_t size = at(given, name).size;
  require_struct_size(size, sizeof(T), name);
  refuse_unknown_fields(given, size, sizeof(T), name);
  return *given;
}

// Fills what is known here of a struct of so many bytes.
template <class T>
void write_struct(T* to, std::size_t size, const char* name, const T& value) {
  at(to, name);
  require_struct_size(size, sizeof(T), name);
  *to = value;
  to->size = size;
  std::memset(reinterpret_cast<std::byte*>(to) + sizeof(T), 0, size - sizeof(T));  // of a later version
}
// Of a struct whose caller has set its size.
template <class T>
void write_struct(T* to, const char* name, const T& value) {
  write_struct(to, at(to, name).size, name, value);
}

template <class T>
densetree_status* init_struct(T* to, std::size_t size, const T& defaults) {
  return guarded(DENSETREE_INVALID_ARGUMENT, [&] { write_struct(to, size, "params", defaults); });
}

template <class E>
E enumeration(std::int32_t value, const char* name) {
  for (const Name<E>& known : names(E{}).all) {
    if (static_cast<std::int32_t>(known.value) == value) {
      return known.value;
    }
  }
  refuse(DENSETREE_INVALID_ARGUMENT, "{} is {}, which stands for nothing", name, value);
}

inline bool truth(std::int32_t value, const char* name) {
  require(value == 0 || value == 1, "{} is {}; it must be 0 or 1", name, value);
  return value == 1;
}

// Fields that later versions may give a meaning.
inline void require_unused(std::int32_t reserved) {
  require(reserved == 0, "reserved is {}; it must be 0", reserved);
}

Place place_of(densetree_place value);

// ---- Engine --------------------------------------------------------------------------------------

// A device whose memory comes from the caller's allocator.
class HostedDevice;

class Engine {
 public:
  explicit Engine(const densetree_engine_params& params);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Device& device() const { return *used_; }
  const std::string& name() const { return name_; }
  int threads() const { return threads_; }               // of the CPU; 0: all cores
  bool allocates() const { return hosted_ == nullptr; }  // by itself, and not the caller
  void log(const std::string& message) const;
  // Throws Fault where it lies elsewhere.
  void require_place(const void* memory, Place place, const char* name) const;
  // Deletes a handle: now, or when the call that is under way is over.
  template <class Handle>
  static void release(Handle* handle) noexcept;

 private:
  friend class Entry;
  using Retired = std::vector<std::shared_ptr<void>>;

  bool enter();           // whether no other call is under way; this one is from here on
  void leave() noexcept;  // and deletes what was released meanwhile
  void retire(std::shared_ptr<void> handle);

  densetree_log log_;
  void* log_data_;
  int threads_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<HostedDevice> hosted_;
  Device* used_;
  std::string name_;
  std::mutex mutex_;  // of what follows
  bool busy_ = false;
  Retired retired_;
};

// A call that works on the engine. Until the end of scope no other may; then the thread's current device is the host's
// again.
class Entry {
 public:
  explicit Entry(const std::shared_ptr<Engine>& engine);
  ~Entry() { engine_->leave(); }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

 private:
  std::optional<CurrentDeviceGuard> guard_;  // none on the CPU
  std::shared_ptr<Engine> engine_;           // the caller may release it meanwhile
};

template <class Handle>
void Engine::release(Handle* handle) noexcept {
  if (!handle) {
    return;
  }
  const CurrentDeviceGuard guard;
  const std::shared_ptr<Engine> engine = handle->engine;
  if (engine->enter()) {
    delete handle;
    engine->leave();
    return;
  }
  try {
    engine->retire(std::shared_ptr<void>(handle, [](void* kept) { delete static_cast<Handle*>(kept); }));
  } catch (const std::bad_alloc&) {
    return;  // shared_ptr has deleted it, or it is lost: there is no memory left
  }
}

// What the outputs are called.
struct Labels {
  std::vector<std::string> names;             // none where nobody gave them
  std::optional<data::LabelSet> of_findings;  // where each stands for some
};

}  // namespace densetree::c_api

// ---- The handles ---------------------------------------------------------------------------------

struct densetree_status {
  densetree_code code;
  std::string message;
};

struct densetree_engine {
  std::shared_ptr<densetree::c_api::Engine> engine;
};

struct densetree_plan {
  std::shared_ptr<densetree::c_api::Engine> engine;
  std::string run;  // where weights come from, or ""
  densetree::c_api::Labels labels;
  std::optional<densetree::nn::ModelPlan> plan;  // until a model takes it
  densetree::nn::ModelOptions options;
  densetree_model_info info;
};

struct densetree_model {
  std::shared_ptr<densetree::c_api::Engine> engine;
  densetree::c_api::Labels labels;
  std::unique_ptr<densetree::nn::Model> model;
  densetree_model_info info;
  std::atomic<std::int64_t> steps;                    // of the model, for other threads
  std::vector<densetree::ImageTransform> transforms;  // of a batch
  std::vector<float> logits;                          // of a batch, where the caller wants something made of them
};

struct densetree_calibration {
  std::shared_ptr<densetree::c_api::Engine> engine;
  densetree::tree::Calibration calibration;
};

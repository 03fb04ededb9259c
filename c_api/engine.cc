// Engines: a device, who may use it when, and the host's memory for it.
#include <limits>
#include <utility>

#include "c_api/handles.h"
#include "engine/planner.h"
#include "kernels/cpu/instruction_sets.h"
#include "kernels/device_decorator.h"

namespace densetree::c_api {

class HostedDevice final : public DeviceDecorator {
 public:
  HostedDevice(Device& inner, const densetree_engine_params& params)
      : DeviceDecorator(inner), allocate_(params.allocate), free_(params.free), data_(params.memory_data) {}

  // What the caller's allocator has is for it to say.
  DeviceInfo info() const override {
    DeviceInfo info = inner_.info();
    info.free_memory = std::numeric_limits<std::size_t>::max();
    return info;
  }
  void* allocate(std::size_t bytes) override {
    void* const memory = allocate_(data_, bytes, Planner::kAlignment);
    if (!memory) {
      throw OutOfMemory(fmt::format("the caller's allocator has no {} bytes", bytes));
    }
    if (reinterpret_cast<std::uintptr_t>(memory) % Planner::kAlignment != 0) {
      free_(data_, memory);
      fail("the caller's allocator gave memory that is not aligned to {} bytes", Planner::kAlignment);
    }
    const std::string elsewhere = inner_.misplaced(memory, Place::kDevice);
    if (!elsewhere.empty()) {
      free_(data_, memory);
      fail("the caller's allocator gave {}; it must be of {}", elsewhere, inner_.info().name);
    }
    return memory;
  }
  void release(void* memory) noexcept override {
    try {
      inner_.synchronize();  // queued work may still use it
    } catch (const Error&) {
      // It cannot be used any more either.
    }
    free_(data_, memory);
  }

 private:
  densetree_allocate allocate_;
  densetree_free free_;
  void* data_;
};

namespace {

bool is_device_name(std::string_view name) {
  constexpr std::string_view kSet = "cpu:", kNumbered = "cuda:";
  if (name.starts_with(kSet)) {
    const auto sets = cpu::instruction_sets();
    return std::any_of(sets.begin(), sets.end(), [&](const auto& set) { return name.substr(kSet.size()) == set.name; });
  }
  if (name.starts_with(kNumbered)) {
    const std::string_view number = name.substr(kNumbered.size());
    return !number.empty() && number.find_first_not_of("0123456789") == std::string_view::npos;
  }
  return name == "auto" || name == "cpu" || name == "cuda";
}

}  // namespace

Engine::Engine(const densetree_engine_params& params)
    : log_(params.log), log_data_(params.log_data), threads_(params.threads) {
  require(params.device && is_device_name(params.device), "device is {}; use auto, cpu, cpu:SET, cuda or cuda:N",
          params.device ? params.device : "null");
  require(params.threads >= 0 && params.threads <= most_threads(), "threads is {}; use 1 to {}, or 0 for all cores",
          params.threads, most_threads());
  require((params.allocate == nullptr) == (params.free == nullptr),
          "of allocate and free one is null; give both or neither");
  require(!params.stream || !std::string_view(params.device).starts_with("cpu"),
          "stream is given, and device cpu has none");
  device_ = make_device(params.device, params.threads, params.stream);
  used_ = device_.get();
  if (params.allocate) {
    hosted_ = std::make_unique<HostedDevice>(*device_, params);
    used_ = hosted_.get();
  }
  name_ = device_->info().name;
}

Engine::~Engine() {
  const CurrentDeviceGuard guard;
  hosted_.reset();
  device_.reset();
}

void Engine::log(const std::string& message) const {
  if (log_) {
    log_(log_data_, message.c_str());
  }
}

void Engine::require_place(const void* memory, Place place, const char* name) const {
  const std::string elsewhere = device_->misplaced(memory, place);
  if (!elsewhere.empty()) {
    refuse(DENSETREE_INVALID_ARGUMENT, "{} is {}; it must be memory of {}", name, elsewhere,
           place == Place::kHost ? "the host" : name_);
  }
}

bool Engine::enter() {
  const std::lock_guard lock(mutex_);
  return !std::exchange(busy_, true);
}

void Engine::leave() noexcept {
  while (true) {
    Retired retired;
    const std::lock_guard lock(mutex_);
    if (retired_.empty()) {
      busy_ = false;
      return;
    }
    retired.swap(retired_);
  }
}

void Engine::retire(std::shared_ptr<void> handle) {
  const std::lock_guard lock(mutex_);
  retired_.push_back(std::move(handle));
}

Entry::Entry(const std::shared_ptr<Engine>& engine) : engine_(engine) {
  if (!engine->enter()) {
    refuse(DENSETREE_BUSY,
           "the engine is in use by another call; one thread at a time, and no call out of its callbacks");
  }
  if (engine->device().stream()) {
    guard_.emplace();
  }
}

}  // namespace densetree::c_api

using namespace densetree;
using namespace densetree::c_api;

densetree_status* densetree_device_get(int32_t index, densetree_device_info* device) {
  return guarded(DENSETREE_FAILED, [&] {
    require(index >= 0, "index is {}; it counts from 0", index);
    at(device, "device");
    const CurrentDeviceGuard guard;
    const std::optional<DeviceStatus> found = device_status(static_cast<std::size_t>(index));
    if (!found) {
      refuse(DENSETREE_NOT_FOUND, "index is {}, behind the last device", index);
    }
    densetree_device_info result{};
    found->name.copy(result.name, sizeof result.name - 1);
    found->detail.copy(result.detail, sizeof result.detail - 1);
    result.available = found->available;
    write_struct(device, "device", result);
  });
}

densetree_status* densetree_engine_params_init(densetree_engine_params* params, size_t size) {
  densetree_engine_params defaults{};
  defaults.device = "auto";
  return init_struct(params, size, defaults);
}

densetree_status* densetree_engine_create(int32_t version, const densetree_engine_params* params,
                                          densetree_engine** engine) {
  return guarded(DENSETREE_UNAVAILABLE, [&] {
    densetree_engine*& made = made_at(engine, "engine");
    require(
        version / 1000000 == DENSETREE_VERSION_MAJOR,
        "the caller was compiled for version {}.{}.{} and this library is {}.{}.{}; their major versions must agree",
        version / 1000000, version / 1000 % 1000, version % 1000, DENSETREE_VERSION_MAJOR, DENSETREE_VERSION_MINOR,
        DENSETREE_VERSION_PATCH);
    const auto given = read_struct(params, "params");
    require_unused(given.reserved);
    const CurrentDeviceGuard guard;
    made = new densetree_engine{std::make_shared<Engine>(given)};
  });
}

void densetree_engine_release(densetree_engine* engine) {
  const CurrentDeviceGuard guard;
  delete engine;
}

const char* densetree_engine_device(const densetree_engine* engine) {
  return engine ? engine->engine->name().c_str() : nullptr;
}

void* densetree_engine_stream(const densetree_engine* engine) {
  return engine ? engine->engine->device().stream() : nullptr;
}

densetree_status* densetree_engine_wait(densetree_engine* engine) {
  return guarded(DENSETREE_FAILED, [&] {
    const Entry entry(at(engine, "engine").engine);
    engine->engine->device().synchronize();
  });
}

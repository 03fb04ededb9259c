// Engines: a device, who may use it when, and the host's memory for it.
#include <algorithm>

#include "c_api/handles.h"
#include "engine/planner.h"
#include "kernels/device_decorator.h"

namespace densetree::c_api {

class HostedDevice final : public DeviceDecorator {
 public:
  HostedDevice(Device& inner, const densetree_engine_params& params)
      : DeviceDecorator(inner), allocate_(params.allocate), free_(params.free), data_(params.memory_data) {}

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
  return name == "auto" || name == "cpu" || name == "cuda" || name.starts_with("cuda:");
}

}  // namespace

Engine::Engine(const densetree_engine_params& params) : log_(params.log), log_data_(params.log_data) {
  require(params.device && is_device_name(params.device), "device is {}; use auto, cpu, cuda or cuda:N",
          params.device ? params.device : "null");
  require(params.threads >= 0 && params.threads <= most_threads(), "threads is {}; use 1 to {}, or 0 for all cores",
          params.threads, most_threads());
  require((params.allocate == nullptr) == (params.free == nullptr),
          "of allocate and free one is null; give both or neither");
  device_ = make_device(params.device, params.threads, params.stream);
  used_ = device_.get();
  if (params.allocate) {
    hosted_ = std::make_unique<HostedDevice>(*device_, params);
    used_ = hosted_.get();
  }
  name_ = device_->info().name;
}

Engine::~Engine() {
  const HostState state = device_->enter();
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
  require(elsewhere.empty(), "{} is {}; its place says {}", name, elsewhere,
          place == Place::kHost ? "DENSETREE_HOST" : fmt::format("DENSETREE_DEVICE, which is {}", name_));
}

Entry::Turn::Turn(std::atomic<bool>& busy) : busy_(busy) {
  if (busy_.exchange(true)) {
    refuse(DENSETREE_BUSY,
           "the engine is in use by another call; one thread at a time, and no call out of its callbacks");
  }
}

Entry::Entry(Engine& engine) : turn_(engine.busy_), state_(engine.device().enter()) {}
Entry::~Entry() = default;

}  // namespace densetree::c_api

using namespace densetree;
using namespace densetree::c_api;

densetree_status* densetree_device_get(int32_t index, densetree_device_info* device) {
  return guarded(DENSETREE_FAILED, [&] {
    require(index >= 0, "index is {}; it counts from 0", index);
    const std::vector<DeviceStatus> devices = list_devices();
    if (static_cast<std::size_t>(index) >= devices.size()) {
      refuse(DENSETREE_NOT_FOUND, "there are {} devices", devices.size());
    }
    const DeviceStatus& found = devices[static_cast<std::size_t>(index)];
    densetree_device_info result{};
    found.name.copy(result.name, sizeof result.name - 1);
    found.detail.copy(result.detail, sizeof result.detail - 1);
    result.available = found.available;
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
    made = new densetree_engine{std::make_shared<Engine>(read_struct(params, "params"))};
  });
}

void densetree_engine_release(densetree_engine* engine) {
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
    const Entry entry(*at(engine, "engine").engine);
    engine->engine->device().synchronize();
  });
}

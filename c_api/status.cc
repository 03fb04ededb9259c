// Statuses, and what becomes of exceptions and of structs of other versions.
#include <algorithm>
#include <new>

#include "c_api/handles.h"

namespace densetree::c_api {
namespace {

// Where there is no memory left to say more.
densetree_status& no_memory() noexcept {
  static densetree_status status{DENSETREE_OUT_OF_MEMORY, "out of memory"};
  return status;
}

densetree_status* make_status(densetree_code code, const char* message) noexcept {
  try {
    return new densetree_status{code, message};
  } catch (const std::bad_alloc&) {
    return &no_memory();
  }
}

}  // namespace

densetree_status* status_of_exception(densetree_code of_errors) noexcept {
  try {
    throw;
  } catch (const Fault& fault) {
    return make_status(fault.code(), fault.what());
  } catch (const OutOfMemory& error) {
    return make_status(DENSETREE_OUT_OF_MEMORY, error.what());
  } catch (const Error& error) {
    return make_status(of_errors, error.what());
  } catch (const std::bad_alloc&) {
    return make_status(DENSETREE_OUT_OF_MEMORY, "the host is out of memory");
  } catch (const std::exception& error) {
    return make_status(DENSETREE_FAILED, error.what());
  } catch (...) {
    return make_status(DENSETREE_FAILED, "an exception that says nothing was thrown");
  }
}

void require_struct_size(std::size_t size, std::size_t known, const char* name) {
  constexpr std::size_t kLargest = 1 << 16;
  require(size >= known && size <= kLargest, "{} has size {}; it must be set to sizeof its struct, {} in this version",
          name, size, known);
}

void refuse_unknown_fields(const void* given, std::size_t size, std::size_t known, const char* name) {
  const auto* const bytes = static_cast<const std::byte*>(given);
  require(std::all_of(bytes + known, bytes + size, [](std::byte byte) { return byte == std::byte{}; }),
          "{} sets a field that version {}.{}.{} of the library does not know", name, DENSETREE_VERSION_MAJOR,
          DENSETREE_VERSION_MINOR, DENSETREE_VERSION_PATCH);
}

Place place_of(densetree_place value) {
  require(value == DENSETREE_HOST || value == DENSETREE_DEVICE,
          "place is {}; it must be DENSETREE_HOST or DENSETREE_DEVICE", value);
  return value == DENSETREE_HOST ? Place::kHost : Place::kDevice;
}

}  // namespace densetree::c_api

using namespace densetree::c_api;

densetree_code densetree_status_code(const densetree_status* status) {
  return status ? status->code : DENSETREE_OK;
}

const char* densetree_status_message(const densetree_status* status) {
  return status ? status->message.c_str() : "";
}

void densetree_status_release(densetree_status* status) {
  if (status != &no_memory()) {
    delete status;
  }
}

int32_t densetree_version() {
  return DENSETREE_VERSION;
}

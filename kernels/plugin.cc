#include "kernels/plugin.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>

#include "kernels/plugin_build.h"

namespace densetree {
namespace {

namespace fs = std::filesystem;

// The file that this function was loaded from, and whether that is the program itself.
struct Self {
  fs::path file;
  bool is_program = false;
};

Self self() {
  Dl_info info{};
  link_map* loaded = nullptr;
  std::error_code error;
  const bool known = dladdr1(reinterpret_cast<const void*>(&plugin_folders), &info, reinterpret_cast<void**>(&loaded),
                             RTLD_DL_LINKMAP) != 0;
  const bool is_program = !known || !loaded || loaded->l_name[0] == '\0';
  return {fs::canonical(is_program ? "/proc/self/exe" : loaded->l_name, error), is_program};
}

}  // namespace

std::vector<fs::path> plugin_folders() {
  if (const char* folder = secure_getenv("DENSETREE_PLUGINS"); folder && *folder) {
    return {folder};
  }
  std::vector<fs::path> folders;
  const auto add = [&](const fs::path& libraries) {
    const fs::path folder = (libraries / "densetree").lexically_normal();
    if (std::find(folders.begin(), folders.end(), folder) == folders.end()) {
      folders.push_back(folder);
    }
  };
  const Self here = self();
  const fs::path beside = here.file.parent_path();
  if (!beside.empty() && here.is_program) {
    add(beside / "../lib");
    add(beside / kLibrariesFromPrograms);
  } else if (!beside.empty()) {
    add(beside);
  }
  add(kInstalledLibraries);
  add("/usr/lib");
  return folders;
}

fs::path find_plugin(const std::string& name, std::string* why_not) {
  const std::string file = fmt::format("libdensetree_{}.so", name);
  std::vector<std::string> folders;
  for (const fs::path& folder : plugin_folders()) {
    std::error_code error;
    if (fs::exists(folder / file, error)) {
      return folder / file;
    }
    folders.push_back(folder.string());
  }
  *why_not = fmt::format("{} is not in {}", file, fmt::join(folders, " or "));
  return {};
}

const void* load_plugin(const fs::path& file, std::string* why_not) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* reason = dlerror();
    *why_not = fmt::format("{} does not load: {}; install what is missing, or name its folder in LD_LIBRARY_PATH",
                           file.string(), reason ? reason : "the loader does not say why");
    return nullptr;
  }
  const auto* plugin = static_cast<const Plugin*>(dlsym(library, "densetree_plugin"));
  if (!plugin || std::string_view(plugin->build) != kPluginBuild) {
    *why_not =
        fmt::format("{} is {}, and this is densetree {}; install both from one build", file.string(),
                    plugin ? fmt::format("of densetree {}", plugin->build) : "no plugin of densetree", kPluginBuild);
    dlclose(library);
    return nullptr;
  }
  return plugin->functions;
}

}  // namespace densetree

// How plugins are found and loaded, and what is said of one that does not do.
#include "kernels/plugin.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace densetree {
namespace {

namespace fs = std::filesystem;
const fs::path kPlugins = DENSETREE_TEST_PLUGINS;

// DENSETREE_PLUGINS as long as this lives.
class Setting {
 public:
  explicit Setting(const std::string& folder) { setenv("DENSETREE_PLUGINS", folder.c_str(), 1); }
  ~Setting() { unsetenv("DENSETREE_PLUGINS"); }
};

// That it is not loaded, and why, in words with all these parts.
void expect_refused(const fs::path& file, const std::vector<std::string>& parts) {
  std::string why_not;
  EXPECT_EQ(load_plugin(file, &why_not), nullptr);
  for (const std::string& part : parts) {
    EXPECT_NE(why_not.find(part), std::string::npos) << "no word of '" << part << "' in: " << why_not;
  }
}

TEST(Plugins, AreLookedForWhereTheSettingSays) {
  const Setting setting(kPlugins);
  EXPECT_EQ(plugin_folders(), std::vector{kPlugins});
  std::string why_not;
  EXPECT_EQ(find_plugin("nccl", &why_not), "");
  EXPECT_EQ(why_not, "libdensetree_nccl.so is not in " + kPlugins.string());
}

TEST(Plugins, AreLookedForBesideTheProgramElse) {
  unsetenv("DENSETREE_PLUGINS");
  const std::vector<fs::path> folders = plugin_folders();
  ASSERT_GE(folders.size(), 2u);
  const fs::path programs = fs::canonical("/proc/self/exe").parent_path();
  EXPECT_EQ(folders.front(), (programs / "../lib/densetree").lexically_normal());
  const Setting empty("");
  EXPECT_EQ(plugin_folders(), folders);
}

TEST(Plugins, OfAnotherBuildAreRefused) {
  expect_refused(kPlugins / "of_another_build.so",
                 {"of_another_build.so is of densetree 0.0.1 (12345678)", "install both from one build"});
}

TEST(Plugins, OfSomethingElseAreRefused) {
  expect_refused(kPlugins / "of_something_else.so", {"of_something_else.so is no plugin of densetree"});
}

TEST(Plugins, SayWhichLibraryTheyLack) {
  expect_refused(kPlugins / "lacks_a_library.so",
                 {"lacks_a_library.so does not load: libgone.so: cannot open shared object file", "LD_LIBRARY_PATH"});
}

TEST(Plugins, ThatAreNotThereOrNoLibrariesAreNamed) {
  expect_refused(kPlugins / "none.so", {"none.so does not load", "No such file"});
  const fs::path text = fs::path(testing::TempDir()) / "text.so";
  std::ofstream(text) << "no library";
  expect_refused(text, {"text.so does not load", "too short"});
  fs::remove(text);
}

}  // namespace
}  // namespace densetree

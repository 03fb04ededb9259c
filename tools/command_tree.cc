#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/io/file.h"
#include "engine/io/json.h"
#include "tools/commands.h"
#include "tools/outputs.h"
#include "tree/label_tree.h"

namespace densetree::tools {
namespace {

struct Flags {
  std::string tree, write;
  int standard = 14;
  bool replace = false;
};

bool is_standard_tree(const std::filesystem::path& file) {
  const std::string text = read_file(file);
  return text == tree::LabelTree::of_14_labels().to_toml() || text == tree::LabelTree::of_13_labels().to_toml();
}

void run(const Common& common, const Flags& flags) {
  const tree::LabelTree tree = !flags.tree.empty()    ? tree::LabelTree::read(flags.tree)
                               : flags.standard == 14 ? tree::LabelTree::of_14_labels()
                                                      : tree::LabelTree::of_13_labels();
  if (!flags.write.empty()) {
    Outputs outputs(common, flags.replace);
    outputs.read(flags.tree);
    outputs.write(flags.write, [&](const std::filesystem::path& file) {
      return is_standard_tree(file) || read_file(file) == tree.to_toml();
    });
    write_file(flags.write, tree.to_toml());
    std::cerr << "tree: " << flags.write << " is written\n";
  }
  if (!common.json) {
    std::cout << tree.draw();
    return;
  }
  nlohmann::ordered_json nodes = nlohmann::ordered_json::array();
  for (const tree::Node& node : tree.nodes()) {
    nlohmann::ordered_json json = {{"name", node.name}, {"parent", nullptr}, {"leaf", node.children.empty()}};
    if (node.parent >= 0) {
      json["parent"] = tree.node(node.parent).name;
    }
    nodes.push_back(json);
  }
  std::cout << json_text(nodes, 2) << '\n';
}

}  // namespace

void add_tree(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("tree", "checks and draws a label tree, and writes one to begin with");
  command->add_option("--tree", flags->tree, "a tree file; a standard tree by default");
  command->add_option("--standard", flags->standard, "the standard tree of 13 or 14 labels")
      ->check(CLI::IsMember({13, 14}))
      ->capture_default_str();
  command->add_option("--write", flags->write, "writes the tree as a file");
  add_replace_flag(*command, flags->replace);
  command->callback([&common, flags] { run(common, *flags); });
}

}  // namespace densetree::tools

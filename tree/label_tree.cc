#include "tree/label_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "engine/io/file.h"
#include "engine/io/toml.h"
#include "kernels/core/error.h"

namespace densetree::tree {

namespace {

// docs/method.md §2.
constexpr std::string_view kTree14 = R"(
[tree]
Abnormal = ["Lung", "Pleura", "Mediastinum"]
Lung = ["Airspace_Opacity", "Lung_Lesion", "Chronic_Lung"]
Airspace_Opacity = ["Consolidation", "Pneumonia", "Infiltration", "Edema", "Atelectasis"]
Lung_Lesion = ["Nodule", "Mass"]
Chronic_Lung = ["Emphysema", "Fibrosis"]
Pleura = ["Effusion", "Pleural_Thickening", "Pneumothorax"]
Mediastinum = ["Cardiomegaly", "Hernia"]
)";

constexpr std::string_view kTree13 = R"(
[labels]
Atelectasis = ["Atelectasis"]
Cardiomegaly = ["Cardiomegaly"]
Effusion = ["Effusion"]
Infiltration = ["Infiltration"]
Mass_Hernia = ["Mass", "Hernia"]
Nodule = ["Nodule"]
Pneumonia = ["Pneumonia"]
Pneumothorax = ["Pneumothorax"]
Consolidation = ["Consolidation"]
Edema = ["Edema"]
Emphysema = ["Emphysema"]
Fibrosis = ["Fibrosis"]
Pleural_Thickening = ["Pleural_Thickening"]

[tree]
Abnormal = ["Lung", "Pleura", "Cardiomegaly", "Mass_Hernia"]
Lung = ["Airspace_Opacity", "Nodule", "Chronic_Lung"]
Airspace_Opacity = ["Consolidation", "Pneumonia", "Infiltration", "Edema", "Atelectasis"]
Chronic_Lung = ["Emphysema", "Fibrosis"]
Pleura = ["Effusion", "Pleural_Thickening", "Pneumothorax"]
)";

// A key of the file with its strings, and where they stand.
struct Entry {
  std::string name;
  unsigned line = 0, column = 0;
  std::vector<std::pair<std::string, unsigned>> values;  // and their lines
};

struct TreeFile {
  std::string source;
  toml::table root;

  TreeFile(std::string_view text, const std::string& from) : source(from), root(parse_toml(text, from)) {
    for (const auto& [key, value] : root) {
      check(key.str() == "labels" || key.str() == "tree", "{}:{}: '{}' is unknown; a tree file has [labels] and [tree]",
            source, key.source().begin.line, key.str());
    }
  }

  // The keys of a table in the order of the file.
  std::vector<Entry> section(const char* name) const {
    const toml::table* table = root[name].as_table();
    check(table != nullptr, "{}: has no table [{}]", source, name);
    std::vector<Entry> entries;
    for (const auto& [key, value] : *table) {
      const toml::source_position at = key.source().begin;
      Entry entry{std::string(key.str()), at.line, at.column, {}};
      check(!entry.name.empty(), "{}:{}: a name in [{}] is empty", source, at.line, name);
      const toml::array* array = value.as_array();
      check(array != nullptr, "{}:{}: '{}' in [{}] must be a list of names, as in {} = [\"A\", \"B\"]", source, at.line,
            entry.name, name, entry.name);
      for (const toml::node& element : *array) {
        const std::optional<std::string> text = element.value_exact<std::string>();
        check(text && !text->empty(), "{}:{}: '{}' in [{}] holds something that is no name", source,
              element.source().begin.line, entry.name, name);
        entry.values.emplace_back(*text, element.source().begin.line);
      }
      entries.push_back(std::move(entry));
    }
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return std::pair(a.line, a.column) < std::pair(b.line, b.column); });
    return entries;
  }

  data::LabelSet labels() const {
    if (!root.contains("labels")) {
      return {};
    }
    std::vector<std::pair<std::string, std::vector<std::string>>> labels;
    for (const Entry& entry : section("labels")) {
      std::vector<std::string> findings;
      for (const auto& [finding, line] : entry.values) {
        const bool known = std::find(data::kFindings.begin(), data::kFindings.end(), finding) != data::kFindings.end();
        check(known, "{}:{}: label '{}' is made of '{}', which is no finding; the findings are {}", source, line,
              entry.name, finding, fmt::join(data::kFindings, ", "));
        findings.push_back(finding);
      }
      check(!findings.empty(), "{}:{}: label '{}' is made of no finding", source, entry.line, entry.name);
      labels.emplace_back(entry.name, findings);
    }
    check(!labels.empty(), "{}: [labels] is empty", source);
    return data::LabelSet(labels);
  }
};

// Checks the edges and gives nodes in their order: leaves, then inner nodes, children first.
class Builder {
 public:
  Builder(const TreeFile& file, const data::LabelSet& labels) : file_(file), labels_(labels) {
    for (const Entry& entry : file.section("tree")) {
      parents_.emplace(entry.name, entry);
    }
    check(!parents_.empty(), "{}: [tree] is empty", file.source);
    check_edges();
  }

  std::vector<Node> nodes() {
    for (std::size_t label = 0; label < labels_.size(); ++label) {
      Node leaf;
      leaf.name = labels_.names()[label];
      leaf.leaves = {static_cast<std::int32_t>(label)};
      number_.emplace(leaf.name, static_cast<std::int32_t>(label));
      nodes_.push_back(std::move(leaf));
    }
    add(root());
    check_everything_is_reached();
    return std::move(nodes_);
  }

 private:
  bool is_label(const std::string& name) const {
    return std::find(labels_.names().begin(), labels_.names().end(), name) != labels_.names().end();
  }

  // Names become those of columns.
  void check_name(const std::string& name, std::size_t line) const {
    const bool plain = std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < ' '; });
    check(
        plain && !name.empty() && name.front() != ' ' && name.back() != ' ',
        "{}:{}: '{}' is no name of a node: it must not be empty, begin or end with a blank, or have control characters",
        file_.source, line, name);
    check(name != "Image Index" && !name.starts_with("prob_"),
          "{}:{}: '{}' is no name of a node: tables of scores have a meaning for it", file_.source, line, name);
  }

  void check_edges() {
    for (const auto& [name, entry] : parents_) {
      check_name(name, entry.line);
      check(!is_label(name), "{}:{}: '{}' is a label and cannot have children", file_.source, entry.line, name);
      check(!entry.values.empty(), "{}:{}: '{}' has no children", file_.source, entry.line, name);
      check(entry.values.size() > 1, "{}:{}: '{}' has one child, '{}'; a node that adds nothing has to go",
            file_.source, entry.line, name, entry.values.front().first);
      for (const auto& [child, line] : entry.values) {
        check_name(child, line);
        check(is_label(child) || parents_.contains(child),
              "{}:{}: '{}' under '{}' is neither a label nor a node with children; the labels are {}", file_.source,
              line, child, name, fmt::join(labels_.names(), ", "));
        const auto [other, fresh] = parent_of_.emplace(child, name);
        check(fresh, "{}:{}: '{}' stands under '{}' and under '{}'; it can have one parent", file_.source, line, child,
              other->second, name);
      }
    }
    for (const std::string& label : labels_.names()) {
      check(parent_of_.contains(label), "{}: label '{}' is left out of [tree]", file_.source, label);
    }
  }

  std::string root() const {
    std::vector<std::string> roots;
    for (const auto& [name, entry] : parents_) {
      if (!parent_of_.contains(name)) {
        roots.push_back(name);
      }
    }
    if (roots.empty()) {
      fail("{}:{}: [tree] is a cycle: every node stands under another, and none is the root", file_.source,
           parents_.begin()->second.line);
    }
    check(roots.size() == 1, "{}: [tree] has {} roots: {}; it must have one", file_.source, roots.size(),
          fmt::join(roots, ", "));
    return roots.front();
  }

  std::int32_t add(const std::string& name) {
    if (const auto found = number_.find(name); found != number_.end()) {
      return found->second;
    }
    Node node;
    node.name = name;
    for (const auto& [child, line] : parents_.at(name).values) {
      const std::int32_t number = add(child);
      node.children.push_back(number);
      const std::vector<std::int32_t>& below = nodes_[static_cast<std::size_t>(number)].leaves;
      node.leaves.insert(node.leaves.end(), below.begin(), below.end());
    }
    std::sort(node.leaves.begin(), node.leaves.end());
    const auto number = static_cast<std::int32_t>(nodes_.size());
    for (const std::int32_t child : node.children) {
      nodes_[static_cast<std::size_t>(child)].parent = number;
    }
    number_.emplace(name, number);
    nodes_.push_back(std::move(node));
    return number;
  }

  // One parent each and one root: what is not reached from it is a cycle.
  void check_everything_is_reached() const {
    for (const auto& [name, entry] : parents_) {
      check(number_.contains(name), "{}:{}: '{}' is part of a cycle: it stands under itself", file_.source, entry.line,
            name);
    }
  }

  const TreeFile& file_;
  const data::LabelSet& labels_;
  std::map<std::string, Entry> parents_;
  std::map<std::string, std::string> parent_of_;
  std::map<std::string, std::int32_t> number_;
  std::vector<Node> nodes_;
};

std::string toml_line(const std::string& key, const std::vector<std::string>& values) {
  std::vector<std::string> quoted;
  for (const std::string& value : values) {
    quoted.push_back(toml_string(value));
  }
  const bool bare = std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
  return fmt::format("{} = [{}]\n", bare ? key : toml_string(key), fmt::join(quoted, ", "));
}

}  // namespace

LabelTree LabelTree::parse(std::string_view text, const std::string& source) {
  const TreeFile file(text, source);
  LabelTree tree;
  tree.labels_ = file.labels();
  tree.nodes_ = Builder(file, tree.labels_).nodes();
  return tree;
}

LabelTree LabelTree::read(const std::filesystem::path& path) {
  return parse(read_file(path), path.string());
}

LabelTree LabelTree::of_14_labels() {
  return parse(kTree14, "the tree of 14 labels");
}

LabelTree LabelTree::of_13_labels() {
  return parse(kTree13, "the tree of 13 labels");
}

LabelTree LabelTree::standard_for(const data::LabelSet& labels) {
  const auto meaning = [](const data::LabelSet& set) {
    std::map<std::string, data::FindingSet> result;
    for (std::size_t label = 0; label < set.size(); ++label) {
      result.emplace(set.names()[label], set.findings(label));
    }
    return result;
  };
  for (LabelTree standard : {of_14_labels(), of_13_labels()}) {
    if (meaning(standard.labels()) == meaning(labels)) {
      // The same edges over the labels in the given order.
      std::string text = "[labels]\n";
      for (std::size_t label = 0; label < labels.size(); ++label) {
        text += toml_line(labels.names()[label], data::finding_names(labels.findings(label)));
      }
      const std::string toml = standard.to_toml();
      return parse(text + toml.substr(toml.find("\n[tree]")), "the standard tree");
    }
  }
  fail("there is no standard tree for the labels {}; give one with --tree", fmt::join(labels.names(), ", "));
}

std::optional<std::int32_t> LabelTree::find(std::string_view name) const {
  for (std::int32_t v = 0; v < size(); ++v) {
    if (node(v).name == name) {
      return v;
    }
  }
  return std::nullopt;
}

bool LabelTree::is_ancestor(std::int32_t ancestor, std::int32_t v) const {
  for (v = node(v).parent; v >= 0; v = node(v).parent) {
    if (v == ancestor) {
      return true;
    }
  }
  return false;
}

std::string LabelTree::to_toml() const {
  std::string text = "[labels]\n";
  for (std::size_t label = 0; label < labels_.size(); ++label) {
    text += toml_line(labels_.names()[label], data::finding_names(labels_.findings(label)));
  }
  text += "\n[tree]\n";
  for (std::int32_t v = root(); v >= leaves(); --v) {
    std::vector<std::string> children;
    for (const std::int32_t child : node(v).children) {
      children.push_back(node(child).name);
    }
    text += toml_line(node(v).name, children);
  }
  return text;
}

std::string LabelTree::draw(const std::vector<std::string>& notes) const {
  struct Line {
    std::string text;
    std::size_t width;  // on screen: lines are drawn with characters of several bytes
    std::int32_t node;
  };
  std::vector<Line> lines;
  const std::function<void(std::int32_t, const std::string&, const std::string&, std::size_t)> add =
      [&](std::int32_t v, const std::string& before, const std::string& below, std::size_t depth) {
        lines.push_back({before + node(v).name, 3 * depth + node(v).name.size(), v});
        const std::vector<std::int32_t>& children = node(v).children;
        for (std::size_t i = 0; i < children.size(); ++i) {
          const bool last = i + 1 == children.size();
          add(children[i], below + (last ? "└─ " : "├─ "), below + (last ? "   " : "│  "), depth + 1);
        }
      };
  add(root(), "", "", 0);
  std::size_t width = 0;
  for (const Line& line : lines) {
    width = std::max(width, line.width);
  }
  std::string text;
  for (const Line& line : lines) {
    text += line.text;
    if (!notes.empty()) {
      text += std::string(width - line.width + 2, ' ') + notes[static_cast<std::size_t>(line.node)];
    }
    text += '\n';
  }
  return text;
}

void require_labels(const LabelTree& tree, const std::vector<std::string>& labels, const std::string& source) {
  check(labels == tree.labels().names(), "{}: its labels are {}; the tree's are {}, in this order", source,
        fmt::join(labels, ", "), fmt::join(tree.labels().names(), ", "));
}

}  // namespace densetree::tree

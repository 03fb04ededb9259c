#include "tree/label_tree.h"

#include <gtest/gtest.h>

#include "kernels/core/error.h"

namespace densetree::tree {
namespace {

void expect_refused(const std::string& text, const std::string& wanted) {
  SCOPED_TRACE(text);
  try {
    LabelTree::parse(text, "t.toml");
    ADD_FAILURE() << "read, but should say: " << wanted;
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find("t.toml"), 0u) << message;
    EXPECT_NE(message.find(wanted), std::string::npos) << message;
  }
}

constexpr const char* kLabels = R"([labels]
A = ["Mass"]
B = ["Nodule", "Hernia"]
C = ["Edema"]
)";

std::string with_tree(const std::string& tree) {
  return kLabels + std::string("[tree]\n") + tree;  // the first line of the tree is line 6
}

// docs/method.md §2, written out as sets of leaves.
TEST(LabelTreeTest, StandardTreesAreTheMethods) {
  const LabelTree tree = LabelTree::of_14_labels();
  EXPECT_EQ(tree.labels().names(), data::LabelSet().names());
  EXPECT_EQ(tree.size(), 14 + 7);
  EXPECT_EQ(tree.node(tree.root()).name, "Abnormal");
  EXPECT_EQ(tree.node(tree.root()).leaves.size(), 14u);
  const auto leaves = [](const LabelTree& t, const char* name) {
    std::vector<std::string> names;
    for (const std::int32_t leaf : t.node(t.find(name).value()).leaves) {
      names.push_back(t.node(leaf).name);
    }
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(leaves(tree, "Airspace_Opacity"),
            (Names{"Atelectasis", "Infiltration", "Pneumonia", "Consolidation", "Edema"}));
  EXPECT_EQ(leaves(tree, "Lung_Lesion"), (Names{"Mass", "Nodule"}));
  EXPECT_EQ(leaves(tree, "Chronic_Lung"), (Names{"Emphysema", "Fibrosis"}));
  EXPECT_EQ(leaves(tree, "Pleura"), (Names{"Effusion", "Pneumothorax", "Pleural_Thickening"}));
  EXPECT_EQ(leaves(tree, "Mediastinum"), (Names{"Cardiomegaly", "Hernia"}));
  EXPECT_EQ(leaves(tree, "Lung").size(), 9u);

  const LabelTree merged = LabelTree::of_13_labels();
  EXPECT_EQ(merged.leaves(), 13);
  EXPECT_EQ(merged.size(), 13 + 5);
  EXPECT_EQ(leaves(merged, "Lung"), (Names{"Atelectasis", "Infiltration", "Nodule", "Pneumonia", "Consolidation",
                                           "Edema", "Emphysema", "Fibrosis"}));
  EXPECT_EQ(merged.node(*merged.find("Mass_Hernia")).parent, merged.root());
  EXPECT_EQ(data::findings_text(merged.labels().findings(static_cast<std::size_t>(*merged.find("Mass_Hernia")))),
            "Mass|Hernia");
}

TEST(LabelTreeTest, ChildrenComeBeforeParentsAndTheRootIsLast) {
  for (const LabelTree& tree : {LabelTree::of_14_labels(), LabelTree::of_13_labels()}) {
    for (std::int32_t v = 0; v < tree.size(); ++v) {
      EXPECT_EQ(tree.node(v).children.empty(), tree.is_leaf(v));
      if (v != tree.root()) {
        EXPECT_GT(tree.node(v).parent, v);
      }
    }
    EXPECT_EQ(tree.node(tree.root()).parent, -1);
    EXPECT_TRUE(tree.is_ancestor(tree.root(), 0));
    EXPECT_FALSE(tree.is_ancestor(0, 0));
    EXPECT_FALSE(tree.is_ancestor(0, tree.root()));
  }
}

TEST(LabelTreeTest, WrittenAndReadBackItIsTheSame) {
  const LabelTree odd = LabelTree::parse(
      "[labels]\n\"a \\\"quoted\\\" name\" = [\"Mass\"]\nB = [\"Nodule\"]\n[tree]\nR = [\"B\", \"a \\\"quoted\\\" "
      "name\"]\n",
      "t");
  EXPECT_EQ(odd.node(0).name, "a \"quoted\" name");
  for (const LabelTree& tree : {LabelTree::of_14_labels(), LabelTree::of_13_labels(), odd}) {
    const LabelTree again = LabelTree::parse(tree.to_toml(), "again");
    EXPECT_EQ(again.to_toml(), tree.to_toml());
    EXPECT_EQ(again.labels(), tree.labels());
    for (std::int32_t v = 0; v < tree.size(); ++v) {
      EXPECT_EQ(again.node(v).name, tree.node(v).name);
      EXPECT_EQ(again.node(v).leaves, tree.node(v).leaves);
    }
  }
}

TEST(LabelTreeTest, LabelsKeepTheFilesOrder) {
  const LabelTree tree =
      LabelTree::parse("[labels]\nZ = [\"Mass\"]\nA = [\"Nodule\"]\n[tree]\nRoot = [\"A\", \"Z\"]\n", "t");
  EXPECT_EQ(tree.labels().names(), (std::vector<std::string>{"Z", "A"}));
  EXPECT_EQ(tree.node(2).children, (std::vector<std::int32_t>{1, 0}));
}

TEST(LabelTreeTest, StandardTreeForLabelsInAnyOrder) {
  std::vector<std::pair<std::string, std::vector<std::string>>> labels;
  for (std::size_t i = data::kFindings.size(); i-- > 0;) {
    labels.push_back({std::string(data::kFindings[i]), {std::string(data::kFindings[i])}});
  }
  const LabelTree tree = LabelTree::standard_for(data::LabelSet(labels));
  EXPECT_EQ(tree.node(0).name, "Hernia");
  EXPECT_EQ(tree.node(*tree.find("Lung_Lesion")).leaves.size(), 2u);
  labels.pop_back();
  EXPECT_THROW(LabelTree::standard_for(data::LabelSet(labels)), Error);
}

TEST(LabelTreeTest, RefusesWithTheLine) {
  expect_refused(with_tree("R = [\"A\", \"S\"]\nS = [\"B\", \"C\", \"A\"]\n"),
                 "t.toml:7: 'A' stands under 'R' and under 'S'");
  expect_refused(with_tree("R = [\"A\", \"B\", \"C\"]\nX = [\"Y\", \"Z\"]\n"),
                 "t.toml:7: 'Y' under 'X' is neither a label");
  expect_refused(with_tree("R = [\"A\", \"B\", \"D\"]\n"), "t.toml:6: 'D' under 'R' is neither a label");
  expect_refused(with_tree("R = [\"A\", \"B\"]\n"), "label 'C' is left out");
  expect_refused(with_tree("R = [\"A\", \"S\"]\nS = [\"B\", \"T\"]\nT = [\"C\"]\n"),
                 "t.toml:8: 'T' has one child, 'C'");
  expect_refused(with_tree("R = [\"A\", \"B\", \"C\", \"S\"]\nS = []\n"), "t.toml:7: 'S' has no children");
  expect_refused(with_tree("R = [\"A\", \"A\", \"B\", \"C\"]\n"), "t.toml:6: 'A' stands under 'R' and under 'R'");
  expect_refused(with_tree("R = [\"A\", \"B\"]\nS = [\"C\", \"R\"]\nA = [\"B\", \"C\"]\n"), "'A' is a label");
  expect_refused(with_tree("R = [\"A\", \"B\"]\nS = [\"C\"]\n"), "has one child");
  expect_refused(with_tree("R = [1, \"B\"]\n"), "t.toml:6: 'R' in [tree] holds something that is no name");
  expect_refused(with_tree("R = \"A\"\n"), "t.toml:6: 'R' in [tree] must be a list");
  expect_refused(with_tree(""), "[tree] is empty");
  expect_refused(with_tree("R = [\"A\"\n"), "t.toml:");
}

TEST(LabelTreeTest, RefusesCyclesAndSeveralRoots) {
  expect_refused(with_tree("R = [\"S\", \"A\", \"B\", \"C\"]\nS = [\"R\", \"T\"]\nT = [\"A\"]\n"), "has one child");
  expect_refused("[tree]\nR = [\"S\", \"Mass\"]\nS = [\"R\", \"Nodule\"]\n", "is left out");
  expect_refused(with_tree("R = [\"S\", \"A\"]\nS = [\"R\", \"B\", \"C\"]\n"), "t.toml:6: [tree] is a cycle");
  expect_refused(with_tree("R = [\"A\", \"B\"]\nS = [\"C\", \"T\"]\nT = [\"S\", \"U\"]\nU = [\"V\", \"W\"]\n"),
                 "neither a label");
  expect_refused(
      "[labels]\nA=[\"Mass\"]\nB=[\"Nodule\"]\nC=[\"Edema\"]\nD=[\"Hernia\"]\n[tree]\nR = [\"A\", \"B\"]\nS = [\"C\", "
      "\"D\"]\n",
      "has 2 roots: R, S");
  // A cycle beside a tree: everything has a parent, but S and T are not reached from the root.
  expect_refused(
      "[labels]\nA=[\"Mass\"]\nB=[\"Nodule\"]\nC=[\"Edema\"]\nD=[\"Hernia\"]\n[tree]\nR = [\"A\", \"B\"]\nS = [\"T\", "
      "\"C\"]\nT = [\"S\", \"D\"]\n",
      "t.toml:8: 'S' is part of a cycle");
  expect_refused(with_tree("R = [\"R\", \"A\", \"B\", \"C\"]\n"), "cycle");
}

TEST(LabelTreeTest, RefusesBadLabels) {
  expect_refused("[labels]\nA = [\"Mess\"]\n[tree]\nR = [\"A\", \"B\"]\n", "t.toml:2: label 'A' is made of 'Mess'");
  expect_refused("[labels]\nA = []\n[tree]\nR = [\"A\", \"B\"]\n", "t.toml:2: label 'A' is made of no finding");
  expect_refused("[labels]\n[tree]\nR = [\"A\", \"B\"]\n", "[labels] is empty");
  expect_refused("[labels]\nA = [\"Mass\"]\n", "has no table [tree]");
  expect_refused("labels = 3\n[tree]\nR = [\"A\", \"B\"]\n", "has no table [labels]");
  expect_refused("[lables]\nA = [\"Mass\"]\n[tree]\nR = [\"A\", \"B\"]\n", "t.toml:1: 'lables' is unknown");
  expect_refused("[labels]\nA = [\"Mass\"]\nA = [\"Nodule\"]\n[tree]\nR = [\"A\", \"B\"]\n", "t.toml:3:");
  expect_refused("", "has no table [tree]");
}

TEST(LabelTreeTest, DrawsEveryNodeOnce) {
  const LabelTree tree = LabelTree::parse(with_tree("R = [\"S\", \"C\"]\nS = [\"A\", \"B\"]\n"), "t");
  EXPECT_EQ(tree.draw(), "R\n├─ S\n│  ├─ A\n│  └─ B\n└─ C\n");
  EXPECT_EQ(tree.draw({"a", "b", "c", "s", "r"}), "R        r\n├─ S     s\n│  ├─ A  a\n│  └─ B  b\n└─ C     c\n");
}

}  // namespace
}  // namespace densetree::tree

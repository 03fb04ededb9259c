#include "tree/answer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tree/score_gradient.h"

namespace densetree::tree {
namespace {

using Lines = std::vector<std::string>;

std::vector<double> posteriors(const LabelTree& tree, const std::vector<std::pair<std::string, double>>& values) {
  std::vector<double> result(static_cast<std::size_t>(tree.size()), 0.05);
  for (const auto& [name, value] : values) {
    result[static_cast<std::size_t>(tree.find(name).value())] = value;
  }
  return result;
}

TEST(AnswerTest, BacksOffInWords) {
  const LabelTree tree = LabelTree::of_14_labels();
  const std::vector<double> thresholds(static_cast<std::size_t>(tree.size()), 0.5);
  const auto say = [&](const std::vector<std::pair<std::string, double>>& values) {
    return sentences(tree, answer(tree, posteriors(tree, values), thresholds));
  };
  EXPECT_EQ(say({{"Airspace_Opacity", 0.83}, {"Consolidation", 0.41}, {"Infiltration", 0.38}, {"Abnormal", 0.99}}),
            (Lines{"Airspace opacity 0.83; which kind is uncertain: Consolidation 0.41, Infiltration 0.38, "
                   "Atelectasis 0.05"}));
  EXPECT_EQ(say({{"Pleural_Thickening", 0.6}, {"Hernia", 0.9}, {"Abnormal", 1.0}}),
            (Lines{"Hernia 0.90", "Pleural thickening 0.60"}));
  EXPECT_EQ(say({{"Hernia", 0.3}}), (Lines{"nothing is certain enough to report; most likely Hernia 0.30"}));
}

TEST(AnswerTest, ThresholdsOfNodesCount) {
  const LabelTree tree = LabelTree::of_14_labels();
  std::vector<double> thresholds(static_cast<std::size_t>(tree.size()), 0.5);
  thresholds[static_cast<std::size_t>(*tree.find("Hernia"))] = INFINITY;
  const Answer found = answer(tree, posteriors(tree, {{"Hernia", 1.0}, {"Mediastinum", 0.7}}), thresholds);
  ASSERT_EQ(found.reports.size(), 1u);
  EXPECT_EQ(tree.node(found.reports[0].node).name, "Mediastinum");
  EXPECT_EQ(found.reports[0].uncertain[0], (std::pair<std::int32_t, double>{*tree.find("Hernia"), 1.0}));
}

TEST(AnswerTest, SpeaksNames) {
  EXPECT_EQ(spoken("Pleural_Thickening"), "Pleural thickening");
  EXPECT_EQ(spoken("Mass"), "Mass");
  EXPECT_EQ(spoken("Old_TB"), "Old TB");
  EXPECT_EQ(spoken("A_"), "A ");
}

TEST(AnswerTest, ScoreGradientAgreesWithDifferences) {
  const LabelTree tree = LabelTree::of_14_labels();
  const std::int32_t node = *tree.find("Lung_Lesion");
  std::vector<double> logits(14);
  for (std::size_t l = 0; l < logits.size(); ++l) {
    logits[l] = std::sin(static_cast<double>(l)) - 0.5;
  }
  const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  const auto scores = [&](const std::vector<double>& z) {
    std::vector<double> s;
    for (const double value : z) s.push_back(sigmoid(value));
    return s;
  };
  for (const Pooling pooling : {Pooling::kNoisyOr, Pooling::kSum, Pooling::kMax}) {
    const auto score = [&](const std::vector<double>& z) {
      const std::vector<double> s = scores(z);
      double none = 1, sum = 0, most = 0;
      for (const std::int32_t leaf : tree.node(node).leaves) {
        const double value = s[static_cast<std::size_t>(leaf)];
        none *= 1 - value, sum += value, most = std::max(most, value);
      }
      return pooling == Pooling::kNoisyOr ? 1 - none : pooling == Pooling::kSum ? sum : most;
    };
    const std::vector<double> gradient = score_gradient(tree, node, pooling, scores(logits));
    for (std::size_t l = 0; l < logits.size(); ++l) {
      std::vector<double> up = logits, down = logits;
      up[l] += 1e-6, down[l] -= 1e-6;
      EXPECT_NEAR(gradient[l], (score(up) - score(down)) / 2e-6, 1e-9);
    }
  }
  EXPECT_EQ(score_gradient(tree, 3, Pooling::kNoisyOr, scores(logits))[3], 1);
}

}  // namespace
}  // namespace densetree::tree

// Choosing thresholds by data, with a guarantee (docs/method.md §7).
//
// Posteriors are fitted on images A; thresholds are chosen on images B, which share no patient with A and hold one
// image per patient: images of one patient are not independent, and certificates that treat them so fail more often
// than they promise. Whatever is chosen is reported on a third set.
//
//  - precision: Learn then Test (Angelopoulos et al., arXiv 2110.01052), per node. With probability >= 1−δ the share of
//    false reports is at most ρ = 1 − precision, for all nodes at once (each is tested at δ/M, M nodes).
//  - any-false: conformal risk control (arXiv 2208.02814), one threshold. P(an image has a false node reported) <= α.
//  - miss: per node. P(not reported | present) <= α.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/tree_types.h"
#include "tree/node_table.h"

namespace densetree::tree {

enum class Guarantee : std::uint8_t { kPrecision, kAnyFalse, kMiss };

struct ThresholdRequest {
  Guarantee kind = Guarantee::kPrecision;
  double target = 0.8;  // precision, or α of the other two
  double delta = 0.1;   // failure probability of kPrecision; else unused
  bool operator==(const ThresholdRequest&) const = default;
};
// "precision:0.8,delta:0.1" (delta may be left out: 0.1), "any-false:0.1" or "miss:0.1". Throws Error that shows the
// three forms on anything else, and on numbers outside (0, 1).
ThresholdRequest parse_threshold_request(std::string_view text);
std::string to_text(const ThresholdRequest& request);  // parses back to the same request

// Of each patient one image, ascending. It is drawn from the stream (seed, kThreshold, patient) among the patient's
// images in rising order, so it does not depend on other patients.
std::vector<std::uint32_t> one_image_per_patient(std::span<const std::uint32_t> patients, std::uint64_t seed);

// Posteriors and truths of some images: (V, N) each; truth is 0, 1, or kUnknown. A node of unknown truth is left
// out: the guarantees speak of what can be checked.
struct Confidences {
  NodeTable<double> posterior;
  NodeTable<std::uint8_t> truth;
};

// Report the node where its posterior is >= threshold. nullopt: no threshold can be certified, the node is never
// reported. -infinity: always reported.
struct NodeThreshold {
  std::optional<double> threshold;
  // On B, with known truth: images (kMiss: positives), of these at or above the threshold, and of those the false ones
  // (kMiss: of the positives, the missed ones). kAnyFalse counts images and has the same numbers at every node:
  // images: with a known node, reported: with any of these reported, wrong: with a false one.
  std::int64_t images = 0, reported = 0, wrong = 0;
  double p_value = 1;  // kPrecision: of the threshold chosen
};

struct ThresholdChoice {
  ThresholdRequest request;
  std::int64_t images = 0;           // of B
  std::vector<NodeThreshold> nodes;  // V
};

// `fitted` are the images A that the posteriors were fitted on, `chosen` the images B, one per patient.
// any-false reports C > T; the threshold given is the next number above T, so that C >= threshold means the same.
// Only precision uses A. Throws Error when the tables do not agree in size or hold a posterior that is not finite, when
// B has no image, or when the request's numbers are not in (0, 1).
ThresholdChoice choose_thresholds(const ThresholdRequest& request, const Confidences& fitted, const Confidences& chosen,
                                  int threads = 0);

// The guarantee in one plain sentence, with its numbers and the images used.
std::string guarantee_text(const ThresholdChoice& choice);

}  // namespace densetree::tree

// Calibrations: from scores to posteriors along a label tree, and to answers.
#include <algorithm>
#include <cmath>
#include <utility>

#include "c_api/handles.h"
#include "engine/io/file.h"
#include "tree/answer.h"

using namespace densetree;
using namespace densetree::c_api;

namespace {

const tree::LabelTree& tree_of(const densetree_calibration* calibration) {
  return at(calibration, "calibration").calibration.tree;
}

std::size_t nodes_of(const densetree_calibration* calibration) {
  return static_cast<std::size_t>(tree_of(calibration).size());
}

// Rows of `columns` values each in an array of the caller.
std::size_t rows_of(std::size_t size, std::size_t columns, const char* name) {
  require(size > 0 && size % columns == 0, "{} has {} elements; it must have {} for each image", name, size, columns);
  return size / columns;
}

void require_scores(std::span<const double> scores) {
  const auto bad = std::ranges::find_if(scores, [](double score) { return !(score >= 0 && score <= 1); });
  require(bad == scores.end(), "scores[{}] is {}; scores are from 0 to 1", bad - scores.begin(),
          bad == scores.end() ? 0 : *bad);
}

std::vector<double> thresholds_of(const densetree_calibration* calibration, const double* thresholds,
                                  std::size_t size) {
  if (!thresholds && size == 0) {
    return calibration->calibration.chosen_thresholds("thresholds are left out");
  }
  const auto given = buffer(thresholds, size, nodes_of(calibration), "thresholds", Size::kExactly);
  const auto bad = std::ranges::find_if(given, [](double value) { return std::isnan(value); });
  require(bad == given.end(), "thresholds[{}] is nan; infinity is for nodes that are never reported",
          bad - given.begin());
  return {given.begin(), given.end()};
}

tree::Answer answer_of(const densetree_calibration* calibration, const double* posteriors, std::size_t posteriors_size,
                       const double* thresholds, std::size_t thresholds_size) {
  const tree::LabelTree& tree = tree_of(calibration);
  const auto values = buffer(posteriors, posteriors_size, nodes_of(calibration), "posteriors", Size::kExactly);
  const auto bad = std::ranges::find_if(values, [](double value) { return !(value >= 0 && value <= 1); });
  require(bad == values.end(), "posteriors[{}] is {}; posteriors are from 0 to 1", bad - values.begin(),
          bad == values.end() ? 0 : *bad);
  return tree::answer(tree, values, thresholds_of(calibration, thresholds, thresholds_size));
}

tree::CalibrationSettings settings_of(const densetree_calibration_params& params) {
  tree::CalibrationSettings settings;
  settings.bins = params.bins;
  settings.alpha = params.smoothing;
  settings.monotone = truth(params.monotone, "monotone");
  on_arguments([&] { check_settings(settings); });
  return settings;
}

}  // namespace

densetree_status* densetree_calibration_params_init(densetree_calibration_params* params, size_t size) {
  const tree::CalibrationSettings settings;
  densetree_calibration_params defaults{};
  defaults.choose_share = 0.5;
  defaults.smoothing = settings.alpha;
  defaults.seed = 1;
  defaults.bins = settings.bins;
  defaults.monotone = settings.monotone;
  return init_struct(params, size, defaults);
}

densetree_status* densetree_calibration_read(densetree_engine* engine, const char* file,
                                             densetree_calibration** calibration) {
  return guarded(DENSETREE_FAILED, [&] {
    densetree_calibration*& made = made_at(calibration, "calibration");
    const Entry entry(at(engine, "engine").engine);
    made = new densetree_calibration{engine->engine, tree::read_calibration(&at(file, "file"))};
  });
}

densetree_status* densetree_calibration_fit(densetree_engine* engine, const densetree_calibration_params* params,
                                            const double* scores, size_t scores_size, const float* targets,
                                            size_t targets_size, const int64_t* patients, size_t patients_size,
                                            densetree_calibration** calibration) {
  return guarded(DENSETREE_FAILED, [&] {
    densetree_calibration*& made = made_at(calibration, "calibration");
    const Entry entry(at(engine, "engine").engine);
    const auto p = read_struct(params, "params");
    const tree::CalibrationSettings settings = settings_of(p);
    const tree::LabelTree tree = p.tree ? tree::LabelTree::read(p.tree) : tree::LabelTree::of_14_labels();
    const auto leaves = static_cast<std::size_t>(tree.leaves());
    at(scores, "scores");
    const std::size_t images = rows_of(scores_size, leaves, "scores");
    const auto given = buffer(scores, scores_size, images * leaves, "scores", Size::kExactly);
    const auto truths = buffer(targets, targets_size, images * leaves, "targets", Size::kExactly);
    const auto whose = buffer(patients, patients_size, images, "patients", Size::kExactly);
    for (const auto& [memory, name] :
         {std::pair<const void*, const char*>(scores, "scores"), {targets, "targets"}, {patients, "patients"}}) {
      engine->engine->require_place(memory, Place::kHost, name);
    }
    metrics::ScoredImages set{.images = {},
                              .patients = {whose.begin(), whose.end()},
                              .labels = tree.labels().names(),
                              .scores = {given.begin(), given.end()},
                              .targets = {truths.begin(), truths.end()}};
    for (std::size_t i = 0; i < images; ++i) {
      set.images.push_back(fmt::format("image {}", i));
    }
    on_arguments([&] { set.check_values("the caller's arrays"); });
    Device& device = engine->engine->device();
    const std::string source = "arrays of a host program";
    if (p.choose) {
      require(p.choose_share > 0 && p.choose_share < 1, "choose_share is {}; it must be between 0 and 1",
              p.choose_share);
      const tree::ThresholdRequest request = on_arguments([&] { return tree::parse_threshold_request(p.choose); });
      made = new densetree_calibration{
          engine->engine, tree::fit_and_choose(device, tree, settings, set, source, request, p.choose_share, p.seed,
                                               engine->engine->threads())};
    } else {
      made = new densetree_calibration{engine->engine, tree::fit(device, tree, settings, set, source)};
    }
  });
}

void densetree_calibration_release(densetree_calibration* calibration) {
  Engine::release(calibration);
}

densetree_status* densetree_calibration_write(densetree_calibration* calibration, const char* file) {
  return guarded(DENSETREE_FAILED, [&] {
    write_file(&at(file, "file"), tree::calibration_json(at(calibration, "calibration").calibration));
  });
}

densetree_status* densetree_calibration_get_info(const densetree_calibration* calibration,
                                                 densetree_calibration_info* info) {
  return guarded(DENSETREE_FAILED, [&] {
    const tree::LabelTree& tree = tree_of(calibration);
    const tree::Calibration& c = calibration->calibration;
    write_struct(info, "info",
                 {.size = sizeof(densetree_calibration_info),
                  .nodes = tree.size(),
                  .leaves = tree.leaves(),
                  .images = c.images,
                  .patients = c.patients,
                  .has_thresholds = c.choice.has_value(),
                  .reserved = 0});
  });
}

densetree_status* densetree_calibration_get_node(const densetree_calibration* calibration, int64_t index,
                                                 densetree_node* node) {
  return guarded(DENSETREE_FAILED, [&] {
    const tree::LabelTree& tree = tree_of(calibration);
    require(index >= 0, "index is {}; it counts from 0", index);
    if (index >= tree.size()) {
      refuse(DENSETREE_NOT_FOUND, "the tree has {} nodes", tree.size());
    }
    const tree::Node& found = tree.node(static_cast<std::int32_t>(index));
    write_struct(node, "node", {.size = sizeof(densetree_node), .name = found.name.c_str(), .parent = found.parent});
  });
}

densetree_status* densetree_calibration_check_model(const densetree_calibration* calibration,
                                                    const densetree_model* model) {
  return guarded(DENSETREE_FAILED,
                 [&] { tree::require_labels(tree_of(calibration), at(model, "model").labels.names, "the model"); });
}

densetree_status* densetree_calibration_posteriors(densetree_calibration* calibration, const double* scores,
                                                   size_t scores_size, double* posteriors, size_t posteriors_size) {
  return guarded(DENSETREE_FAILED, [&] {
    const Entry entry(at(calibration, "calibration").engine);
    const auto leaves = static_cast<std::size_t>(tree_of(calibration).leaves());
    at(scores, "scores");
    const std::size_t images = rows_of(scores_size, leaves, "scores"), nodes = nodes_of(calibration);
    const auto given = buffer(scores, scores_size, images * leaves, "scores", Size::kExactly);
    const auto to = buffer(posteriors, posteriors_size, images * nodes, "posteriors", Size::kAtLeast);
    calibration->engine->require_place(scores, Place::kHost, "scores");
    calibration->engine->require_place(posteriors, Place::kHost, "posteriors");
    require_scores(given);
    const tree::NodeTable<double> table = calibration->calibration.posteriors(calibration->engine->device(), given);
    for (std::size_t i = 0; i < images; ++i) {
      for (std::size_t v = 0; v < nodes; ++v) {
        to[i * nodes + v] = table.at(v, i);
      }
    }
  });
}

densetree_status* densetree_calibration_thresholds(const densetree_calibration* calibration, double* thresholds,
                                                   size_t thresholds_size) {
  return guarded(DENSETREE_FAILED, [&] {
    const auto to = buffer(thresholds, thresholds_size, nodes_of(calibration), "thresholds", Size::kAtLeast);
    std::ranges::copy(calibration->calibration.chosen_thresholds("thresholds"), to.begin());
  });
}

densetree_status* densetree_calibration_answer(const densetree_calibration* calibration, const double* posteriors,
                                               size_t posteriors_size, const double* thresholds, size_t thresholds_size,
                                               uint8_t* reported, size_t reported_size) {
  return guarded(DENSETREE_FAILED, [&] {
    const auto to = buffer(reported, reported_size, nodes_of(calibration), "reported", Size::kAtLeast);
    const tree::Answer answer = answer_of(calibration, posteriors, posteriors_size, thresholds, thresholds_size);
    std::ranges::fill(to, std::uint8_t{0});
    for (const tree::Report& report : answer.reports) {
      to[static_cast<std::size_t>(report.node)] = 1;
    }
  });
}

densetree_status* densetree_calibration_report(const densetree_calibration* calibration, const double* posteriors,
                                               size_t posteriors_size, const double* thresholds, size_t thresholds_size,
                                               char* text, size_t text_size, size_t* text_length) {
  return guarded(DENSETREE_FAILED, [&] {
    at(text_length, "text_length");
    const tree::Answer answer = answer_of(calibration, posteriors, posteriors_size, thresholds, thresholds_size);
    const std::string lines = fmt::format("{}\n", fmt::join(tree::sentences(tree_of(calibration), answer), "\n"));
    *text_length = lines.size();
    if (text || text_size > 0) {
      const auto to = buffer(text, text_size, lines.size() + 1, "text", Size::kAtLeast);
      std::memcpy(to.data(), lines.c_str(), lines.size() + 1);
    }
  });
}

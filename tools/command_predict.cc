#include <iostream>
#include <nlohmann/json.hpp>

#include "data/heatmap.h"
#include "engine/io/file.h"
#include "engine/io/json.h"
#include "kernels/core/error.h"
#include "nn/activation_map.h"
#include "nn/trained_model.h"
#include "tools/commands.h"
#include "tools/image_batches.h"
#include "tools/outputs.h"
#include "tools/scored_input.h"
#include "tools/setting_options.h"
#include "tree/answer.h"
#include "tree/calibration.h"
#include "tree/score_gradient.h"

namespace densetree::tools {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct Flags {
  std::string run, calibration, heatmap;
  std::optional<double> confidence;
  std::vector<std::string> images, heatmap_nodes;
  InferenceSettings inference;
  std::int64_t max_pixels = data::kDefaultMaxPixels;
  bool replace = false;
};

// How a heat map of a node is called that is drawn on the image of this name.
fs::path heat_map_path(const Flags& flags, const fs::path& name, const std::string& node) {
  check(node.find('/') == std::string::npos, "no heat map of node '{}': a slash cannot be part of a file's name", node);
  return fs::path(flags.heatmap) / name.parent_path() / fmt::format("{}.{}.png", name.stem().string(), node);
}

// Of all heat maps that may be drawn.
void check_outputs(const Common& common, const Flags& flags, const std::vector<ImageFile>& images,
                   const tree::LabelTree& tree) {
  std::vector<std::string> nodes = flags.heatmap_nodes;
  if (nodes.empty()) {
    for (const tree::Node& node : tree.nodes()) {
      nodes.push_back(node.name);
    }
  }
  Outputs outputs(common, flags.replace);
  outputs.read_run(flags.run);
  outputs.read(flags.calibration);
  for (const ImageFile& image : images) {
    outputs.read(image.path);
  }
  for (const ImageFile& image : images) {
    for (const std::string& node : nodes) {
      outputs.write(heat_map_path(flags, image.name, node), data::is_written_here);
    }
  }
}

// What the calibration and the flags make of probabilities.
struct Answering {
  tree::Calibration calibration;
  std::vector<double> thresholds;

  Answering(const Flags& flags, const nn::TrainedModel& trained)
      : calibration(tree::read_calibration(flags.calibration)) {
    check(calibration.tree.labels() == trained.labels, "{}: is for the labels {}; {} was trained on {}",
          flags.calibration, fmt::join(calibration.tree.labels().names(), ", "), trained.weights.string(),
          fmt::join(trained.labels.names(), ", "));
    if (flags.confidence) {
      thresholds.assign(static_cast<std::size_t>(calibration.tree.size()), *flags.confidence);
    } else {
      check(calibration.choice.has_value(),
            "{}: holds no chosen thresholds; give --confidence T, or calibrate with --choose", flags.calibration);
      thresholds = calibration.chosen_thresholds(flags.calibration);
    }
  }
};

// Heat maps of the images of a batch, drawn over them.
class HeatMaps {
 public:
  HeatMaps(const Flags& flags, nn::Model& model, tree::LabelTree tree, Pooling pooling)
      : flags_(flags), model_(model), tree_(std::move(tree)), pooling_(pooling) {
    for (const std::string& name : flags.heatmap_nodes) {
      check(tree_.find(name).has_value(), "--heatmap-node {}: the tree has no such node; it has\n{}", name,
            tree_.draw());
      nodes_.push_back(*tree_.find(name));
    }
    classifier_ = model.read("classifier.weight");
  }

  const tree::LabelTree& tree() const { return tree_; }

  // Of the batch that was inferred last.
  void read_features() { features_ = model_.features(); }

  // Of image i: the nodes asked for, else `reported`. Returns the files.
  std::vector<fs::path> draw(const ReadImages& images, std::size_t i, std::span<const double> scores,
                             const std::vector<std::int32_t>& reported) const {
    const Shape shape = model_.feature_shape();
    const auto size = static_cast<std::size_t>(shape.c * shape.h * shape.w);
    std::vector<fs::path> written;
    for (const std::int32_t node : nodes_.empty() ? reported : nodes_) {
      const std::vector<double> gradient = tree::score_gradient(tree_, node, pooling_, scores);
      const data::HeatMap map =
          nn::activation_map(std::span(features_).subspan(i * size, size), shape, classifier_, gradient);
      const fs::path path = heat_map_path(flags_, images.files[i]->name, tree_.node(node).name);
      make_folder(path.parent_path());
      data::write_png(path, data::overlay(images.originals[i], map));
      written.push_back(path);
    }
    return written;
  }

 private:
  const Flags& flags_;
  nn::Model& model_;
  tree::LabelTree tree_;
  Pooling pooling_;
  std::vector<std::int32_t> nodes_;  // asked for
  std::vector<float> classifier_, features_;
};

class Prediction {
 public:
  Prediction(const Common& common, const Flags& flags, const std::vector<ImageFile>& images, Device& device)
      : common_(common),
        device_(device),
        trained_(device, flags.run, flags.inference.batch_of(images.size()), !flags.heatmap.empty()) {
    if (!flags.calibration.empty()) {
      answering_.emplace(flags, trained_);
    }
    if (!flags.heatmap.empty()) {
      maps_.emplace(flags, *trained_.model,
                    answering_ ? answering_->calibration.tree : run_tree(flags.run, trained_.labels),
                    answering_ ? answering_->calibration.settings.pooling : Pooling::kNoisyOr);
      check_outputs(common, flags, images, maps_->tree());
      make_folder(flags.heatmap);
    }
  }

  const nn::Model& model() const { return *trained_.model; }
  bool draws() const { return maps_.has_value(); }

  // Answers a batch of images.
  void answer(const ReadImages& images) {
    const std::vector<double> scores = nn::probabilities_of(nn::infer_logits(*trained_.model, images.batch()));
    const std::size_t labels = trained_.labels.size();
    tree::NodeTable<double> posteriors;
    if (answering_) {
      posteriors = answering_->calibration.posteriors(device_, scores);
    }
    if (maps_) {
      maps_->read_features();
    }
    for (std::size_t i = 0; i < images.files.size(); ++i) {
      answer(images, i, std::span(scores).subspan(i * labels, labels), posteriors);
    }
  }

 private:
  void answer(const ReadImages& images, std::size_t i, std::span<const double> scores,
              const tree::NodeTable<double>& posteriors) {
    std::vector<double> of_nodes;
    tree::Answer found;
    if (answering_) {
      for (std::size_t v = 0; v < posteriors.nodes; ++v) {
        of_nodes.push_back(posteriors.at(v, i));
      }
      found = tree::answer(answering_->calibration.tree, of_nodes, answering_->thresholds);
    }
    std::vector<fs::path> maps;
    if (maps_) {
      maps = maps_->draw(images, i, scores, mapped_nodes(scores, found));
    }
    const fs::path& image = images.files[i]->path;
    if (common_.json) {
      std::cout << json_text(as_json(image, scores, of_nodes, found, maps)) << '\n';
    } else {
      print(image, scores, found, maps);
    }
  }

  // What is reported, else the most probable label.
  std::vector<std::int32_t> mapped_nodes(std::span<const double> scores, const tree::Answer& found) const {
    std::vector<std::int32_t> nodes;
    for (const tree::Report& report : found.reports) {
      nodes.push_back(report.node);
    }
    if (nodes.empty()) {
      const auto highest = std::max_element(scores.begin(), scores.end()) - scores.begin();
      nodes.push_back(answering_ ? found.most_likely.first : static_cast<std::int32_t>(highest));
    }
    return nodes;
  }

  ordered_json as_json(const fs::path& image, std::span<const double> scores, std::span<const double> posteriors,
                       const tree::Answer& found, const std::vector<fs::path>& maps) const {
    ordered_json json = {{"image", image.string()}};
    for (std::size_t label = 0; label < scores.size(); ++label) {
      json["probabilities"][trained_.labels.names()[label]] = scores[label];
    }
    if (answering_) {
      const tree::LabelTree& tree = answering_->calibration.tree;
      for (std::size_t v = 0; v < posteriors.size(); ++v) {
        json["posteriors"][tree.nodes()[v].name] = posteriors[v];
      }
      json["findings"] = ordered_json::array();
      for (const tree::Report& report : found.reports) {
        ordered_json finding = {{"node", tree.node(report.node).name}, {"posterior", report.posterior}};
        finding["uncertain"] = ordered_json::object();
        for (const auto& [child, posterior] : report.uncertain) {
          finding["uncertain"][tree.node(child).name] = posterior;
        }
        json["findings"].push_back(finding);
      }
      json["text"] = tree::sentences(tree, found);
    }
    for (const fs::path& map : maps) {
      json["heatmaps"].push_back(map.string());
    }
    return json;
  }

  void print(const fs::path& image, std::span<const double> scores, const tree::Answer& found,
             const std::vector<fs::path>& maps) const {
    std::cout << image.string() << '\n';
    if (answering_) {
      for (const std::string& sentence : tree::sentences(answering_->calibration.tree, found)) {
        std::cout << "  " << sentence << '\n';
      }
    } else {
      std::vector<std::size_t> order(scores.size());
      for (std::size_t label = 0; label < order.size(); ++label) {
        order[label] = label;
      }
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
      for (const std::size_t label : order) {
        std::cout << fmt::format("  {:20} {:.3f}\n", trained_.labels.names()[label], scores[label]);
      }
    }
    for (const fs::path& map : maps) {
      std::cout << "  heat map: " << map.string() << '\n';
    }
  }

  const Common& common_;
  Device& device_;
  nn::TrainedModel trained_;
  std::optional<Answering> answering_;
  std::optional<HeatMaps> maps_;
};

void print_fault(const Common& common, const fs::path& image, const std::string& fault) {
  if (common.json) {
    std::cout << json_text({{"image", image.string()}, {"error", fault}}) << '\n';
  } else {
    std::cerr << "predict: " << fault << '\n';
  }
}

void run(const Common& common, const Flags& flags) {
  const std::vector<ImageFile> images = find_images(flags.images);
  check(!flags.confidence || !flags.calibration.empty(), "--confidence needs --calibration: a score is no confidence");
  check(flags.heatmap_nodes.empty() || !flags.heatmap.empty(), "--heatmap-node needs --heatmap DIR");
  if (!flags.heatmap.empty()) {
    check_names_differ(images);
  }
  const auto device = common.open_device();
  Prediction prediction(common, flags, images, *device);
  std::size_t unreadable = 0;
  const ReadOptions options{.max_pixels = flags.max_pixels,
                            .keep_originals = prediction.draws(),
                            .unreadable = [&](const ImageFile& image, const std::string& fault) {
                              print_fault(common, image.path, fault);
                              ++unreadable;
                            }};
  for_each_batch(prediction.model(), images, options, [&](const ReadImages& read) { prediction.answer(read); });
  check(unreadable == 0, "{} of {} images could not be read; the others were answered", unreadable, images.size());
}

}  // namespace

void add_predict(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("predict", "findings, image by image");
  command->add_option("--run", flags->run, "a trained run")->required();
  command->add_option("--calibration", flags->calibration, "answer along the label tree, with posteriors");
  command
      ->add_option("--confidence", flags->confidence,
                   "report nodes from this posterior on; else the calibration's chosen thresholds")
      ->check(share_range());
  command->add_option("--heatmap", flags->heatmap,
                      "folder for heat maps of what is reported; each is scaled to its own maximum");
  command->add_option("--heatmap-node", flags->heatmap_nodes, "heat maps of this node instead; may be repeated")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_settings(*command, flags->inference);
  add_setting(*command, flags->max_pixels, data::kMaxPixelsSetting);
  command->add_option("images", flags->images, "images (PNG, JPEG) or folders of them")
      ->required()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_replace_flag(*command, flags->replace);
  command->callback([&common, flags] { run(common, *flags); });
}

}  // namespace densetree::tools

#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/io/file.h"
#include "engine/io/json.h"
#include "nn/model.h"
#include "tools/commands.h"
#include "tools/outputs.h"
#include "tools/plan_drawing.h"
#include "tools/plan_operations.h"
#include "tools/setting_options.h"

namespace densetree::tools {
namespace {

struct Flags {
  nn::ModelOptions options;
  std::string budget, draw;
  bool buffers = false, operations = false, replace = false;
};

constexpr std::string_view kTitle = "A training step of ";

bool is_drawing(const std::filesystem::path& file) {
  return read_file(file).substr(0, 256).find(fmt::format("<title>{}", kTitle)) != std::string::npos;
}

// "4000000000", "3.5GB", "8 GiB".
std::size_t parse_bytes(const std::string& text) {
  std::size_t end = 0;
  double value = 0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  std::string unit = text.substr(end);
  std::erase(unit, ' ');
  const std::map<std::string, double> units{{"", 1},         {"B", 1},        {"MB", 1e6}, {"GB", 1e9},
                                            {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"KB", 1e3}, {"KiB", 0x1p10}};
  check(end > 0 && units.contains(unit) && value > 0 && std::isfinite(value),
        "budget '{}' is not a size; use for instance 4000000000 or 8GiB", text);
  return static_cast<std::size_t>(value * units.at(unit));
}

using Json = nlohmann::ordered_json;

Json buffers_of(const Planner& planner) {
  Json list = Json::array();
  for (const Planner::Buffer& b : planner.buffers()) {
    if (b.first >= 0) {
      list.push_back(
          {{"name", b.name}, {"bytes", b.bytes}, {"first", b.first}, {"last", b.last}, {"offset", b.offset}});
    }
  }
  return list;
}

void print_buffers(const Planner& planner) {
  std::cout << fmt::format("\n{:>14} {:>14} {:>6} {:>6}  {}\n", "offset", "bytes", "first", "last", "buffer");
  for (const Planner::Buffer& b : planner.buffers()) {
    if (b.first >= 0) {
      std::cout << fmt::format("{:>14} {:>14} {:>6} {:>6}  {}\n", b.offset, b.bytes, b.first, b.last, b.name);
    }
  }
}

void run(const Common& common, const Flags& flags) {
  if (!flags.draw.empty()) {
    Outputs(common, flags.replace).write(flags.draw, is_drawing);
  }
  const auto device = common.open_device();
  const nn::ModelOptions& options = flags.options;
  const nn::ModelPlan plan(*device, options);
  const Tape& tape = plan.training()->tape;
  const Planner& planner = tape.planner();
  if (flags.operations) {
    std::cout << (common.json ? json_text(operations_of(tape), 2) + '\n' : operations_table(tape));
    return;
  }
  Json result{{"arch", options.arch.name},
              {"batch_size", options.batch_size},
              {"image_size", options.image_size},
              {"memory", name_of(options.memory)},
              {"batch_norm", name_of(options.batch_norm)},
              {"batch_norms", plan.batch_norms().describe()},
              {"precision", name_of(options.precision)},
              {"device", device->info().name},
              {"parameters", plan.parameters().size(Parameters::Kind::kWeight)},
              {"persistent_bytes", plan.persistent_bytes()},
              {"step_bytes", plan.step_bytes()},
              {"lower_bound_bytes", planner.lower_bound()},
              {"peak_bytes", plan.bytes()},
              {"steps", tape.steps().size()}};
  if (!flags.budget.empty()) {
    const std::size_t budget = parse_bytes(flags.budget);
    result["budget_bytes"] = budget;
    result["largest_batch"] = nn::largest_batch(*device, options, budget, nn::kLargestBatch);
  }
  if (!flags.draw.empty()) {
    const std::string title =
        fmt::format("{}{}, batch {}, {}², {}, {}, batch norm {}, on {}", kTitle, options.arch.name, options.batch_size,
                    options.image_size, name_of(options.memory), name_of(options.precision),
                    plan.batch_norms().describe(), device->info().name);
    write_file(flags.draw, draw_plan(planner, title, tape.forward_steps()));
  }
  if (common.json) {
    result["buffers"] = buffers_of(planner);
    std::cout << json_text(result, 2) << '\n';
    return;
  }
  if (flags.buffers) {
    print_buffers(planner);
  }
  for (const auto& [key, value] : result.items()) {
    std::cout << fmt::format("{:18} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
}

}  // namespace

void add_plan(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("plan", "the memory a training step takes; nothing is allocated");
  add_settings(*command, flags->options);
  command->add_option("--budget", flags->budget, "find the largest batch for this much memory, as 8GiB");
  command->add_option("--draw", flags->draw, "draw the plan: an SVG file");
  command->add_flag("--buffers", flags->buffers, "list every buffer with its bytes and lifetime");
  command
      ->add_flag("--operations", flags->operations,
                 "list every step: its operation, what computes it, and why nothing faster does")
      ->excludes("--budget", "--draw", "--buffers");
  add_replace_flag(*command, flags->replace);
  command->callback([&common, flags] { run(common, *flags); });
}

}  // namespace densetree::tools

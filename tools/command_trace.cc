#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "kernels/core/error.h"
#include "nn/trace.h"
#include "tools/commands.h"
#include "tools/outputs.h"
#include "tools/setting_options.h"

namespace densetree::tools {
namespace {

struct Flags {
  nn::TraceOptions options;
  std::string weights, batch, out;
  bool replace = false;
};

bool is_trace(const std::filesystem::path& file) {
  return TensorFile::open(file).find("step0.loss") != nullptr;
}

void run(const Common& common, const Flags& flags) {
  Outputs outputs(common, flags.replace);
  outputs.read(flags.weights);
  outputs.read(flags.batch);
  outputs.write(flags.out, is_trace);
  const auto device = common.open_device();
  const nn::Trace trace =
      nn::run_trace(*device, flags.options, TensorFile::open(flags.weights), TensorFile::open(flags.batch));
  nn::write_trace(trace, flags.out);
  nlohmann::ordered_json losses = nlohmann::ordered_json::array();
  for (int k = 0; k < flags.options.steps; ++k) {
    losses.push_back(trace.at(fmt::format("step{}.loss", k)).values[0]);
    std::cerr << fmt::format("step {} loss {:.9g}\n", k, losses.back().get<double>());
  }
  if (common.json) {
    std::cout << json_text({{"trace", flags.out}, {"losses", losses}}) << '\n';
  }
}

}  // namespace

void add_trace(CLI::App& app, const Common& common) {
  auto flags = std::make_shared<Flags>();
  auto* command = app.add_subcommand("trace", "runs training steps on one batch and writes every number down");
  add_settings(*command, flags->options);
  command->add_option("--weights", flags->weights, "initial weights (safetensors, torchvision's names)")->required();
  command->add_option("--batch", flags->batch, "x [N,3,S,S] and y [N,L] (safetensors)")->required();
  command->add_option("--out", flags->out, "the trace (safetensors)")->required();
  add_replace_flag(*command, flags->replace);
  command->callback([&common, flags] { run(common, *flags); });
}

}  // namespace densetree::tools

// The flags that say which network is run and how, shared by train, trace and plan.
#pragma once

#include <string>

#include "kernels/core/error.h"
#include "kernels/device.h"
#include "tools/commands.h"

namespace densetree::tools {

struct NetworkFlags {
  std::string arch = "densenet121", loss = "mse", precision = "fp32", memory = "shared", batch_norm = "auto";

  void add_arch(CLI::App& command) {
    command.add_option("--arch", arch, "densenet121, 161, 169, 201, 264 or growth=G,blocks=A-B-C-D,init=I")
        ->capture_default_str();
  }
  void add_training(CLI::App& command) {
    command.add_option("--loss", loss, "mse (of the sigmoid) or bce (with logits)")
        ->check(CLI::IsMember({"mse", "bce"}))
        ->capture_default_str();
    add_memory(command);
  }
  void add_memory(CLI::App& command) {
    command
        .add_option("--precision", precision,
                    "fp32, tf32 (needs a GPU) or bf16 (a GPU, or AVX-512); weights, statistics and sums stay fp32")
        ->check(CLI::IsMember({"fp32", "tf32", "bf16"}))
        ->capture_default_str();
    command.add_option("--memory", memory, "what is kept for backward: store, shared or recompute")
        ->check(CLI::IsMember({"store", "shared", "recompute"}))
        ->capture_default_str();
    command
        .add_option("--batch-norm", batch_norm,
                    "plain, factored (statistics and backward once per feature) or fused (and on the way into "
                    "convolutions; an error where the device cannot); auto: the fastest that each layer has")
        ->check(CLI::IsMember({"auto", "plain", "factored", "fused"}))
        ->capture_default_str();
  }
  LossKind loss_kind() const { return loss == "mse" ? LossKind::kMse : LossKind::kBce; }
};

}  // namespace densetree::tools

// The subcommands of `densetree`: each file command_<name>.cc defines one, thin over the libraries.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "kernels/device.h"

namespace densetree::tools {

// An argument as CLI11 takes it literally: it takes "[a]" for a list, but not "./[a]".
std::string literal(const std::string& argument);

// Flags that every subcommand has.
struct Common {
  std::string device = "auto";
  int threads = 0;  // 0: all cores
  std::uint64_t seed = 1;
  bool json = false;
  const CLI::Option* config = nullptr;

  std::unique_ptr<Device> open_device() const;  // says on stderr, once, what `auto` took
  std::filesystem::path config_file() const;    // empty where none is given
};

// A number from 0 to 1.
CLI::Validator share_range();

// A number of threads that a process with so many cores may sensibly ask for, 0 for one per core.
CLI::Validator thread_range();

// The flags themselves.
void add_common(CLI::App& app, Common& common);

// Each adds its subcommand to app; the callback runs it and throws Error on failure.
void add_synth(CLI::App& app, const Common& common);
void add_prepare(CLI::App& app, const Common& common);
void add_train(CLI::App& app, const Common& common);
void add_calibrate(CLI::App& app, const Common& common);
void add_eval(CLI::App& app, const Common& common);
void add_predict(CLI::App& app, const Common& common);
void add_embed(CLI::App& app, const Common& common);
void add_trace(CLI::App& app, const Common& common);
void add_tree(CLI::App& app, const Common& common);
void add_plan(CLI::App& app, const Common& common);
void add_devices(CLI::App& app, const Common& common);

}  // namespace densetree::tools

#include <fmt/format.h>

#include <charconv>
#include <iostream>
#include <limits>
#include <utility>

#include "engine/io/text.h"
#include "tools/commands.h"
#include "tools/setting_options.h"

namespace densetree::tools {
std::unique_ptr<Device> Common::open_device() const {
  std::unique_ptr<Device> opened = make_device(device, threads);
  if (device == "auto") {
    const DeviceInfo info = opened->info();
    std::cerr << "device: " << info.name << " (" << info.hardware << ", " << info.threads << " threads)\n";
  }
  return opened;
}

std::filesystem::path Common::config_file() const {
  return config->count() > 0 ? config->as<std::string>() : "";
}

std::string literal(const std::string& argument) {
  const bool is_list = argument.size() > 1 && argument.front() == '[' && argument.back() == ']';
  return is_list ? "./" + argument : argument;
}

CLI::Validator share_range() {
  return {[](std::string& text) -> std::string {
            const std::optional<double> value = parse_number(text);
            return value && *value >= 0 && *value <= 1 ? "" : fmt::format("{} is no number from 0 to 1", text);
          },
          "0 - 1"};
}

CLI::Validator thread_range() {
  return {[](std::string& text) -> std::string {
            int threads = -1;
            const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), threads);
            if (fault != std::errc() || end != text.data() + text.size() || threads < 0 || threads > most_threads()) {
              return fmt::format("{} threads: this process may use {} cores, so use 1 to {}, or 0 for one per core",
                                 text, usable_cores(), most_threads());
            }
            static bool said = false;
            if (threads > usable_cores() && !std::exchange(said, true)) {
              std::cerr << fmt::format("{} threads are more than the {} cores that this process may use\n", threads,
                                       usable_cores());
            }
            return "";
          },
          fmt::format("0 - {}", most_threads())};
}

void add_common(CLI::App& app, Common& common) {
  app.add_option("--device", common.device, "auto, cpu, cpu:SET (x86-64, avx2, avx512, avx512_bf16), cuda or cuda:N")
      ->capture_default_str();
  app.add_option("--threads", common.threads, "CPU threads; 0: all cores")->check(thread_range());
  add_setting(app, common.seed, kSeedSetting);
  app.add_flag("--json", common.json, "machine-readable standard output");
}

}  // namespace densetree::tools

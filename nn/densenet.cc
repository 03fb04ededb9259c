#include "nn/densenet.h"

#include <charconv>

#include "kernels/core/error.h"
#include "kernels/core/integer.h"

namespace densetree::nn {

Outputs densenet(Builder& b, const Architecture& a, const Tensor& images, std::int64_t labels) {
  Tensor x = b.convolution("features.conv0", images, {.out = a.init, .kernel = 7, .stride = 2, .padding = 3});
  x = b.norm_relu("features.norm0", b.normalize(x), Use::kSpatial);
  x = b.max_pool(x, {.kernel = 3, .stride = 2, .padding = 1});

  for (std::size_t block = 1; block <= a.blocks.size(); ++block) {
    b.enter_block(block);
    const std::int64_t layers = a.blocks[block - 1];
    Stack stack(b, fmt::format("features.denseblock{}", block), x, x.c + layers * a.growth);
    for (std::int64_t layer = 1; layer <= layers; ++layer) {
      const std::string name = fmt::format("features.denseblock{}.denselayer{}.", block, layer);
      const Feature y = b.norm_relu_convolution(name + "norm1", name + "conv1", stack.features(),
                                                {.out = a.bottleneck * a.growth, .role = Role::kBottleneck});
      stack.append(name + "norm2", name + "conv2", y, {.out = a.growth, .kernel = 3, .padding = 1});
    }
    if (block == a.blocks.size()) {
      x = b.norm_relu("features.norm5", stack.features(), Use::kStack);
    } else {
      // Pooling and a 1×1 convolution commute: pooled first, the convolution has a quarter of the work.
      const std::string name = fmt::format("features.transition{}.", block);
      x = b.norm_relu(name + "norm", stack.features(), Use::kStack);
      x = b.average_pool(x, 2);
      x = b.convolution(name + "conv", x, {.out = x.c / 2});
    }
  }
  Outputs outputs;
  outputs.features = x;
  outputs.embedding = b.global_average_pool(x);
  outputs.logits = b.linear("classifier", outputs.embedding, labels);
  return outputs;
}

std::int64_t Architecture::features() const {
  std::int64_t channels = init;
  for (std::size_t block = 0; block < blocks.size(); ++block) {
    channels += blocks[block] * growth;
    channels /= block + 1 < blocks.size() ? 2 : 1;
  }
  return channels;
}

std::int64_t Architecture::last_side(std::int64_t image_size) const {
  const auto half = [](std::int64_t side) { return quotient_up(side, 2); };
  return half(half(image_size)) >> (blocks.size() - 1);  // two strides of 2 with padding, then pooling without
}

namespace {

constexpr const char* kForms =
    "use densenet121, densenet161, densenet169, densenet201, densenet264 or growth=G,blocks=A-B-C-D,init=I";

std::int64_t parse_number(const std::string& text, std::string_view digits) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  check(error == std::errc{} && end == digits.data() + digits.size() && value >= 1 && value <= 4096,
        "architecture '{}': '{}' is not a number from 1 to 4096; {}", text, digits, kForms);
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) {
      return parts;
    }
    text.remove_prefix(end + 1);
  }
}

}  // namespace

Architecture parse_architecture(const std::string& text) {
  const std::map<std::string, Architecture> known{
      {"densenet121", {text, 32, {6, 12, 24, 16}, 64}}, {"densenet161", {text, 48, {6, 12, 36, 24}, 96}},
      {"densenet169", {text, 32, {6, 12, 32, 32}, 64}}, {"densenet201", {text, 32, {6, 12, 48, 32}, 64}},
      {"densenet264", {text, 32, {6, 12, 64, 48}, 64}},
  };
  if (const auto it = known.find(text); it != known.end()) {
    return it->second;
  }
  Architecture a{.name = text};
  for (const std::string_view part : split(text, ',')) {
    const auto equals = part.find('=');
    check(equals != std::string_view::npos, "architecture '{}' is unknown; {}", text, kForms);
    const std::string_view key = part.substr(0, equals), value = part.substr(equals + 1);
    if (key == "growth") {
      a.growth = parse_number(text, value);
    } else if (key == "init") {
      a.init = parse_number(text, value);
    } else if (key == "bottleneck") {
      a.bottleneck = parse_number(text, value);
    } else if (key == "blocks") {
      a.blocks.clear();
      for (const std::string_view layers : split(value, '-')) {
        a.blocks.push_back(parse_number(text, layers));
      }
    } else {
      fail("architecture '{}': '{}' is unknown; {}", text, key, kForms);
    }
  }
  return a;
}

void set_from_text(Architecture& a, const std::string& text, const Setting&, const std::string& shown) {
  try {
    a = parse_architecture(text);
  } catch (const Error& e) {
    fail("{}: {}", shown, e.what());
  }
}

}  // namespace densetree::nn

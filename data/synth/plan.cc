// Who is in a synthetic series, how often they come back, and what they have.
//
// About 40 % of the images show no finding; the findings stand at 6 to 20 % each, far above NIH's own shares, so that
// a thousand images hold enough of every one. Some come together, as they do in patients.
#include <fmt/format.h>

#include "data/synth/anatomy.h"

namespace densetree::data {
namespace {

// Of patients with findings, the share that has each.
constexpr float kShare[kFindings.size()] = {0.19f, 0.19f, 0.22f, 0.25f, 0.18f, 0.20f, 0.16f,
                                            0.17f, 0.17f, 0.13f, 0.17f, 0.16f, 0.17f, 0.15f};

struct Together {
  Finding has, then_often;
  float share;
};
constexpr Together kTogether[] = {
    {Finding::kEdema, Finding::kEffusion, 0.40f},         {Finding::kCardiomegaly, Finding::kEdema, 0.20f},
    {Finding::kPneumonia, Finding::kInfiltration, 0.25f}, {Finding::kEffusion, Finding::kAtelectasis, 0.25f},
    {Finding::kEmphysema, Finding::kPneumothorax, 0.20f}, {Finding::kMass, Finding::kNodule, 0.20f},
};

FindingSet bit(Finding finding) {
  return 1u << static_cast<int>(finding);
}

FindingSet draw_findings(RandomStream& random) {
  FindingSet findings = 0;
  for (std::size_t f = 0; f < kFindings.size(); ++f) {
    findings |= random.uniform() < kShare[f] ? 1u << f : 0u;
  }
  for (const Together& pair : kTogether) {
    const bool joined = random.uniform() < pair.share;
    findings |= joined && (findings & bit(pair.has)) ? bit(pair.then_often) : 0u;
  }
  return findings ? findings : 1u << random.below(kFindings.size());
}

}  // namespace

std::string SynthImage::name() const {
  return fmt::format("{:08}_{:03}.png", patient, follow_up);
}

std::vector<SynthImage> plan_synth(std::int64_t count, std::uint64_t seed) {
  std::vector<SynthImage> images;
  images.reserve(static_cast<std::size_t>(count));
  SynthImage image;
  for (image.patient = 1; static_cast<std::int64_t>(images.size()) < count; ++image.patient) {
    image.follow_up = 0;
    RandomStream random = synth_stream(seed, image, SynthUse::kPlan);
    image.age = 20 + static_cast<int>(random.below(66));
    image.female = random.below(2) == 1;
    const FindingSet lasting = random.uniform() < 0.63f ? draw_findings(random) : 0;
    std::uint32_t visits = 1;
    while (visits < 8 && random.uniform() < 0.45f) {
      ++visits;
    }
    for (; image.follow_up < visits && static_cast<std::int64_t>(images.size()) < count; ++image.follow_up) {
      image.supine = random.uniform() < 0.3f;
      image.findings = 0;
      for (std::size_t f = 0; f < kFindings.size(); ++f) {  // now and then a sign is not there on the day
        image.findings |= random.uniform() < 0.9f ? lasting & 1u << f : 0u;
      }
      images.push_back(image);
    }
  }
  return images;
}

}  // namespace densetree::data

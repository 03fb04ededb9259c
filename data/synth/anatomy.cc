#include "data/synth/anatomy.h"

#include <numbers>

namespace densetree::data {

RandomStream synth_stream(std::uint64_t seed, const SynthImage& image, SynthUse use, Finding finding) {
  const bool of_patient = use == SynthUse::kPlan || use == SynthUse::kBody;
  const std::uint32_t follow_up = of_patient ? 0 : image.follow_up;
  return {seed, RandomUse::kSynth, image.patient,
          follow_up << 8 | static_cast<std::uint32_t>(use) << 4 | static_cast<std::uint32_t>(finding)};
}

float Lung::wall(float v) const {
  const float k = std::min(1.0f - (v - apex) / height(), 1.0f);
  return crown + (outer - crown) * std::sqrt(std::max(1.0f - k * k * k, 0.0f));
}

// The horizontal distance, shortened where the wall is steep: near the apex it becomes the vertical one.
float Lung::costal(float a, float v) const {
  if (v <= apex) {
    return -std::sqrt(square(v - apex) + square(std::max(a - crown, 0.0f)));
  }
  const float k = 1.0f - (v - apex) / height();
  const float root = std::sqrt(std::max(1.0f - k * k * k, 1e-4f));
  const float slope = (outer - crown) * 1.5f * k * k / (root * height());
  const float across = crown + (outer - crown) * root - a;
  const float near = square(clamp01(1.0f + 4.0f * across));  // far outside the wall the slope says nothing
  const float straight = across / std::sqrt(1.0f + slope * slope * near);
  return across > 0 ? std::min(straight, v - apex) : straight;
}

float Lung::above_diaphragm(float a, float v) const {
  const float part = (a - centre) / (outer - centre);
  const float depth = part > 0 ? fall : 0.25f * fall;  // flat towards the heart
  const float slope = 2.0f * depth * part / (outer - centre);
  return (dome + depth * part * part - v) / std::sqrt(1.0f + slope * slope);
}

float Anatomy::middle(float u, float v) const {
  const float column = mediastinum * (0.80f + 0.20f * step(-0.5f, 0.0f, v)) + 0.03f * step(-0.45f, -0.9f, v);
  const float arch = knob - std::sqrt(square(u - mediastinum) + square(v + 0.30f));
  const float c = std::cos(heart_turn), s = std::sin(heart_turn), du = u - heart.u, dv = v - heart.v;
  const float q = square((c * du + s * dv) / heart_width) + square((c * dv - s * du) / heart_height);
  const float ventricle = (1.0f - std::sqrt(q)) * heart_height;
  return soft_max(soft_max(column - std::abs(u), arch, 0.06f), ventricle, 0.10f);
}

namespace {

void apply_build_findings(Anatomy& a, const SynthImage& image, std::uint64_t seed) {
  if (image.has(Finding::kCardiomegaly)) {
    RandomStream random = synth_stream(seed, image, SynthUse::kFinding, Finding::kCardiomegaly);
    const float grow = random.uniform(1.32f, 1.7f);
    a.heart_width *= grow, a.heart_height *= 0.5f + 0.5f * grow;
    a.heart.u += 0.02f, a.heart.v -= 0.05f * (grow - 1.0f);
  }
  if (image.has(Finding::kEmphysema)) {
    RandomStream random = synth_stream(seed, image, SynthUse::kFinding, Finding::kEmphysema);
    const float strength = random.uniform(0.35f, 1.2f);
    a.air += 0.10f * strength, a.vessels *= 1.0f - 0.45f * strength;
    a.heart_width *= 0.85f;
    for (Lung& lung : a.lungs) {
      lung.dome += 0.10f * strength, lung.fall *= 1.0f - 0.65f * std::min(strength, 1.0f),
          lung.outer += 0.03f * strength;
    }
  }
  if (image.has(Finding::kAtelectasis)) {  // volume loss: the diaphragm rises, heart and mediastinum follow
    RandomStream random = synth_stream(seed, image, SynthUse::kFinding, Finding::kAtelectasis);
    const int side = static_cast<int>(random.below(2));
    const float strength = random.uniform(0.7f, 1.3f);
    a.lungs[side].dome -= 0.11f * strength;
    a.heart.u += (side == 1 ? 0.04f : -0.04f) * strength;
  }
  if (image.has(Finding::kFibrosis)) {
    for (Lung& lung : a.lungs) {
      lung.dome -= 0.06f;
    }
  }
}

}  // namespace

Anatomy make_anatomy(const SynthImage& image, std::uint64_t seed) {
  RandomStream body = synth_stream(seed, image, SynthUse::kBody);
  RandomStream now = synth_stream(seed, image, SynthUse::kImage);
  Anatomy a;
  const float width = body.uniform(0.92f, 1.07f), length = body.uniform(0.92f, 1.08f);
  const float breath = now.uniform(-0.06f, 0.04f);  // how deep the patient breathed in
  for (int side = 0; side < 2; ++side) {
    Lung& lung = a.lungs[side];
    lung.apex = -0.74f * length + body.uniform(-0.02f, 0.02f);
    lung.dome = 0.42f * length + (side == 1 ? 0.05f : 0.0f) + breath + body.uniform(-0.02f, 0.02f);
    lung.fall = body.uniform(0.20f, 0.27f);
    lung.outer = 0.69f * width + body.uniform(-0.02f, 0.02f);
    lung.crown = body.uniform(0.12f, 0.17f);
    lung.centre = body.uniform(0.30f, 0.37f);
  }
  const float cage = a.lungs[1].outer;
  a.heart_width = cage * body.uniform(0.42f, 0.49f) * (image.supine ? 1.06f : 1.0f);
  a.heart_height = a.heart_width * body.uniform(0.66f, 0.80f);
  a.heart_turn = body.uniform(0.45f, 0.85f);
  a.heart = {body.uniform(0.08f, 0.13f), a.lungs[1].dome - a.heart_height + body.uniform(-0.02f, 0.03f)};
  a.mediastinum = body.uniform(0.105f, 0.14f) * (image.supine ? 1.15f : 1.0f);
  a.knob = body.uniform(0.06f, 0.09f) + 0.0003f * static_cast<float>(image.age);
  a.trunk = cage + body.uniform(0.14f, 0.30f);
  a.shoulder = -0.98f + body.uniform(-0.06f, 0.06f);
  a.neck = body.uniform(0.19f, 0.25f);
  a.rib_spacing = body.uniform(0.125f, 0.150f) * length;
  a.rib_width = body.uniform(0.022f, 0.030f);
  a.rib_density = body.uniform(0.06f, 0.10f);
  a.air = body.uniform(0.40f, 0.48f);
  a.vessels = now.uniform(0.8f, 1.2f);
  a.breasts = image.female ? body.uniform(0.03f, 0.10f) : 0.0f;
  a.stomach_bubble = now.uniform() < 0.5f;
  apply_build_findings(a, image, seed);
  return a;
}

Scene::Scene(const Frame& where, const Anatomy& who, RandomStream noise_stream)
    : frame(where), anatomy(who), noise(noise_stream) {
  const auto pixels = static_cast<std::size_t>(frame.size() * frame.size());
  density.resize(pixels), lung.resize(pixels), costal.resize(pixels), vessels.resize(pixels);
}

namespace {

// Distance to the skin, inside positive: trunk, arms towards the top, shoulders, neck.
float skin(const Anatomy& a, float u, float v) {
  const float side = std::abs(u);
  const float flank = a.trunk + 0.7f * step(0.05f, -0.6f, v) - side;
  const float shoulder = 0.95f * (v - a.shoulder - 0.30f * std::max(side - a.neck, 0.0f));
  return std::min(flank, soft_max(shoulder, a.neck - side, 0.25f));
}

// A rib is a tube: bright at its rims, less between. `off` is 0 in the middle, 1 at the rim.
float rib(float off) {
  return step(1.15f, 0.85f, off) * (0.55f + 0.45f * off * off);
}

// Density of the ribs that cross (side = |u|, v): the back halves falling outwards, the front halves inwards.
float ribs(const Anatomy& a, const Lung& lung, float side, float v, float costal) {
  const float part = std::min(side / lung.outer, 1.1f), inward = std::max(1.0f - part, 0.0f);
  const float inside = step(-0.035f, 0.01f, costal) * step(0.07f, 0.11f, side);
  const float fall = part * part * (0.10f + 0.22f * part * part);
  const float back = (v - lung.apex + 0.02f - fall) / a.rib_spacing;
  const float front = (v - lung.apex - 0.26f - 0.50f * inward) / a.rib_spacing;
  const float back_number = std::round(back), front_number = std::round(front), thick = a.rib_width / a.rib_spacing;
  const float back_there = back_number >= 0 && back_number <= 9 ? 1.0f - 0.04f * back_number : 0.0f;
  const float front_there = front_number >= 0 && front_number <= 6 ? step(0.30f, 0.60f, part) : 0.0f;
  return a.rib_density * inside *
         (back_there * rib(std::abs(back - back_number) / thick) +
          0.7f * front_there * rib(std::abs(front - front_number) / (1.2f * thick)));
}

float spine(float u, float v) {
  const float beat = v * 9.0f, disc = std::abs(beat - std::round(beat)) * 2.0f;  // 1 in the middle of a vertebra
  const float body = step(0.10f, 0.055f, std::abs(u));
  return body * (0.05f + 0.04f * step(0.1f, 0.5f, disc));
}

float breasts(const Anatomy& a, float u, float v) {
  const float side = std::abs(u), floor = a.lungs[0].dome + 0.10f;
  const float distance = std::sqrt(square((side - 0.40f) / 0.36f) + square((v - floor + 0.28f) / 0.40f));
  return a.breasts * step(1.05f, 0.75f, distance) * step(-0.35f, 0.1f, v - floor + 0.3f);
}

// The soft tissue, the air in the lungs, the bones: one pixel at a time.
void paint_body(Scene& scene) {
  const Anatomy& a = scene.anatomy;
  const float soft = std::max(0.010f, scene.frame.pixel());
  scene.frame.each([&](std::int64_t index, float u, float v) {
    const auto i = static_cast<std::size_t>(index);
    const Lung& lung = a.lung(u);
    const float side = std::abs(u), to_skin = skin(a, u, v);
    if (to_skin < -0.03f) {
      scene.costal[i] = -1.0f;
      return;
    }
    const float costal = lung.costal(side, v), diaphragm = lung.above_diaphragm(side, v), middle = a.middle(u, v);
    const float wobble = 0.008f * scene.noise.at(u, v, 0.10f);  // no outline of a body is a ruler's
    const float depth = std::min(std::min(costal, diaphragm + wobble), -middle + wobble);
    const float aerated = step(-soft, soft, depth);
    const float thick = 0.40f + 0.60f * std::sqrt(clamp01(std::min(costal + 0.02f, -middle + 0.02f) * 3.5f));
    const float tissue = scene.noise.at(u, v, 0.35f) + 0.5f * scene.noise.at(v, u, 0.12f);
    float density = 0.60f * std::sqrt(step(-0.03f, 0.40f, to_skin)) + 0.05f * step(0.05f, -0.02f, std::abs(costal));
    density += 0.035f * tissue * step(0.0f, 0.2f, to_skin);
    density -= a.air * aerated * (thick - 0.06f * scene.noise.cloud(u, v, 0.06f));
    const float trunk_only = step(-0.04f, 0.03f, lung.outer + 0.08f - side);
    density += 0.20f * step(-soft, 0.25f, -diaphragm) * trunk_only;  // abdomen
    // Heart and great vessels, thicker towards the middle; the spine behind them.
    density += (0.06f * step(-0.01f, 0.02f, middle) + 0.16f * step(-0.02f, 0.20f, middle)) * step(-1.0f, -0.6f, v);
    density += spine(u, v);
    density -= 0.10f * bell(u / 0.03f) * step(-0.22f, -0.32f, v);  // windpipe
    density += ribs(a, lung, side, v, costal) + breasts(a, u, v);
    scene.density[i] += density;
    scene.lung[i] = aerated, scene.costal[i] = costal;
  });
}

// Where vessels cross, the film shows the denser one: not sums, which would make bright knots.
void paint_vessel_piece(Scene& scene, Point from, Point to, float width, float amount) {
  paint_stroke(scene.frame, scene.vessels, from, to, width, 0.85f * width, amount * scene.anatomy.vessels,
               Blend::kLargest);
}

// One vessel: pieces that each thin out and turn a little, with side branches.
void paint_vessel(Scene& scene, RandomStream& random, Point from, float angle, float length, float width, int depth) {
  const float bend = random.uniform(-0.16f, 0.16f);
  for (int piece = 0; piece < 5; ++piece) {
    const float reach = length * random.uniform(0.15f, 0.22f);
    const Point to{from.u + reach * std::cos(angle), from.v + reach * std::sin(angle)};
    paint_vessel_piece(scene, from, to, width, 0.085f * std::sqrt(width / 0.014f));
    if (depth > 0 && piece > 0) {
      paint_vessel(scene, random, to, angle + random.uniform(0.3f, 0.8f) * (random.below(2) ? 1.0f : -1.0f),
                   length * 0.45f, width * 0.7f, depth - 1);
    }
    from = to, width *= 0.80f, angle += bend + random.uniform(-0.10f, 0.10f);
  }
}

void paint_vessels(Scene& scene, RandomStream random) {
  for (const float side : {-1.0f, 1.0f}) {
    const Point hilum{side * (scene.anatomy.mediastinum + 0.04f), -0.06f + (side > 0 ? -0.03f : 0.0f)};
    paint_vessel_piece(scene, {hilum.u, hilum.v - 0.08f}, {hilum.u + side * 0.03f, hilum.v + 0.12f}, 0.045f, 0.10f);
    constexpr int kVessels = 10;
    for (int vessel = 0; vessel < kVessels; ++vessel) {
      const float place = (static_cast<float>(vessel) + random.uniform()) / kVessels;
      const float outward = -1.35f + 2.75f * place;
      const float angle = side > 0 ? outward : std::numbers::pi_v<float> - outward;
      paint_vessel(scene, random, {hilum.u, hilum.v - 0.08f + 0.2f * place}, angle, random.uniform(0.45f, 0.75f),
                   random.uniform(0.011f, 0.017f), 1);
    }
  }
}

void paint_bones(Scene& scene, RandomStream random) {
  const float top = scene.anatomy.lungs[0].apex;
  for (const float side : {-1.0f, 1.0f}) {
    const float tilt = random.uniform(-0.03f, 0.03f), reach = scene.anatomy.lung(side).outer;
    const Point inner{side * 0.09f, top + 0.16f}, bend{side * 0.34f, top + 0.10f + tilt};
    const Point outer{side * (reach + 0.12f), top - 0.05f + tilt};
    paint_stroke(scene.frame, scene.density, inner, bend, 0.030f, 0.020f, 0.10f);  // collar bone
    paint_stroke(scene.frame, scene.density, bend, outer, 0.020f, 0.026f, 0.10f);
    paint_stroke(scene.frame, scene.density, {side * (reach - 0.02f), top + 0.16f},
                 {side * (reach + 0.10f), top + 0.62f}, 0.055f, 0.03f, 0.05f);  // shoulder blade
    paint_stroke(scene.frame, scene.density, outer, {side * (reach + 0.32f), top + 0.05f}, 0.07f, 0.09f, 0.09f);
  }
}

}  // namespace

void paint_chest(Scene& scene, RandomStream random) {
  paint_body(scene);
  paint_bones(scene, random);
  paint_vessels(scene, random);
  const Anatomy& a = scene.anatomy;
  if (a.stomach_bubble) {
    const Point bubble{random.uniform(0.26f, 0.42f), a.lungs[1].dome + 0.14f};
    const float radius = random.uniform(0.05f, 0.09f);
    scene.frame.each({bubble.u - 0.2f, bubble.v - 0.2f, bubble.u + 0.2f, bubble.v + 0.2f},
                     [&](std::int64_t i, float u, float v) {
                       const float q = std::sqrt(square((u - bubble.u) / 1.5f) + square(v - bubble.v)) / radius;
                       scene.density[static_cast<std::size_t>(i)] -= 0.2f * step(1.1f, 0.8f, q);
                     });
  }
}

}  // namespace densetree::data

// The sign of each finding. Cardiomegaly, Emphysema and the volume loss of Atelectasis are in the build of the chest
// (anatomy.cc); the rest is painted here, over the healthy chest.
#include <numbers>

#include "data/synth/anatomy.h"

namespace densetree::data {
namespace {

float any_side(RandomStream& random) {
  return random.below(2) ? 1.0f : -1.0f;
}

// A point in aerated lung: `low` … `high` of the way from apex to diaphragm. Tries a few times to miss the heart.
Point point_in_lung(const Scene& scene, RandomStream& random, float side, float low, float high) {
  const Lung& lung = scene.anatomy.lung(side);
  Point p;
  for (int attempt = 0; attempt < 24; ++attempt) {
    p.v = lung.apex + random.uniform(low, high) * (lung.dome - lung.apex);
    const float inner = scene.anatomy.mediastinum + 0.05f, wall = lung.wall(p.v) - 0.05f;
    p.u = side * random.uniform(std::min(inner, wall), wall);
    if (scene.lung[static_cast<std::size_t>(scene.frame.index(p))] > 0.9f) {
      break;
    }
  }
  return p;
}

// f(index, |u|, v) for the pixels of one half of the chest.
template <class F>
void each_of_side(const Scene& scene, float side, F f) {
  const Box half{side > 0 ? 0.0f : -1.2f, -1.1f, side > 0 ? 1.2f : 0.0f, 1.1f};
  scene.frame.each(half, [&](std::int64_t i, float u, float v) {
    if (u * side >= 0) {
      f(static_cast<std::size_t>(i), std::abs(u), v);
    }
  });
}

// A soft blob with edges as sharp as `edge` (0 … 1), its outline bent by noise.
void paint_blob(Scene& scene, Point centre, float radius, float edge, float bend, float amount) {
  const float reach = radius * (1.6f + bend);
  scene.frame.each({centre.u - reach, centre.v - reach, centre.u + reach, centre.v + reach},
                   [&](std::int64_t index, float u, float v) {
                     const auto i = static_cast<std::size_t>(index);
                     const float distance = std::sqrt(square(u - centre.u) + square(v - centre.v)) / radius;
                     const float bent = distance + (bend > 0 ? bend * scene.noise.at(u, v, radius) : 0.0f);
                     scene.density[i] += amount * scene.lung[i] * step(1.5f - 0.4f * edge, 0.5f + 0.4f * edge, bent);
                   });
}

void paint_atelectasis(Scene& scene, RandomStream& random) {
  const float side = random.below(2) ? 1.0f : -1.0f, strength = random.uniform(0.7f, 1.3f);  // as in the build
  const Lung& lung = scene.anatomy.lung(side);
  const int plates = 2 + static_cast<int>(random.below(2));
  for (int plate = 0; plate < plates; ++plate) {
    const float v = lung.dome - 0.05f - 0.085f * static_cast<float>(plate) + random.uniform(-0.02f, 0.02f);
    const float wall = lung.wall(v), slant = random.uniform(-0.05f, 0.08f);
    const Point inner{side * random.uniform(0.20f, 0.28f), v + slant}, outer{side * (wall - 0.06f), v - slant};
    // As a marking of the lung: hardly seen through the heart.
    paint_stroke(scene.frame, scene.vessels, inner, outer, 0.020f, 0.014f, 0.19f * strength);
  }
}

// Fluid fills the angle between diaphragm and chest wall, and climbs along the wall.
void paint_effusion(Scene& scene, RandomStream& random) {
  const bool both = random.uniform() < 0.35f;
  const float first = any_side(random);
  for (const float side : {first, -first}) {
    if (side != first && !both) {
      break;
    }
    const Lung& lung = scene.anatomy.lung(side);
    const float height = random.uniform(0.20f, 0.52f), amount = random.uniform(0.30f, 0.38f);
    const float bottom = lung.dome + 0.6f * lung.fall;
    each_of_side(scene, side, [&](std::size_t i, float a, float v) {
      const float part = std::max((a - 0.1f) / (lung.outer - 0.1f), 0.0f);
      const float level = bottom - height * (0.42f + 0.58f * part * part * part);
      scene.density[i] += amount * scene.lung[i] * step(-0.02f, 0.05f, v - level);
    });
  }
}

// Air beside the lung: a dark rim without markings, widest at the apex, then the thin line of the pleura.
void paint_pneumothorax(Scene& scene, RandomStream& random) {
  const float side = any_side(random), width = random.uniform(0.09f, 0.22f), air = random.uniform(0.10f, 0.16f);
  const Lung& lung = scene.anatomy.lung(side);
  const float line = std::max(0.008f, 0.5f * scene.frame.pixel());
  each_of_side(scene, side, [&](std::size_t i, float, float v) {
    const float down = clamp01((v - lung.apex) / lung.height());
    const float rim = width * (1.25f - 0.85f * down), inside = scene.costal[i] - rim;
    const float outside = scene.lung[i] * step(0.008f, -0.008f, inside);
    scene.density[i] -= air * outside;
    scene.vessels[i] *= 1.0f - outside;
    scene.density[i] += scene.lung[i] * (0.11f * bell(inside / line) + 0.08f * step(-0.005f, 0.01f, inside));
  });
}

void paint_nodule(Scene& scene, RandomStream& random) {
  const int nodules = 1 + static_cast<int>(random.below(3));
  for (int nodule = 0; nodule < nodules; ++nodule) {
    const Point centre = point_in_lung(scene, random, any_side(random), 0.12f, 0.9f);
    const float radius = random.uniform(0.042f, 0.068f);
    paint_blob(scene, centre, radius, 0.8f, 0.05f, random.uniform(0.20f, 0.32f));
  }
}

void paint_mass(Scene& scene, RandomStream& random) {
  const Point centre = point_in_lung(scene, random, any_side(random), 0.15f, 0.85f);
  paint_blob(scene, centre, random.uniform(0.13f, 0.22f), 0.75f, 0.18f, random.uniform(0.24f, 0.34f));
}

// Ill-defined streaks and clouds over a wide part of one or both lungs.
void paint_infiltration(Scene& scene, RandomStream& random) {
  const int places = 2 + static_cast<int>(random.below(2));
  for (int place = 0; place < places; ++place) {
    const Point centre = point_in_lung(scene, random, any_side(random), 0.25f, 0.85f);
    const float reach = random.uniform(0.24f, 0.36f), amount = random.uniform(0.14f, 0.22f);
    scene.frame.each({centre.u - 2 * reach, centre.v - 2 * reach, centre.u + 2 * reach, centre.v + 2 * reach},
                     [&](std::int64_t index, float u, float v) {
                       const auto i = static_cast<std::size_t>(index);
                       const float near = bell(std::sqrt(square(u - centre.u) + square(v - centre.v)) / reach);
                       const float cloud = clamp01(0.55f + 1.1f * scene.noise.cloud(u, v, 0.09f));
                       scene.density[i] += amount * near * cloud * scene.lung[i];
                     });
  }
}

// A lobe without air: dense, even, sharp where it ends at a fissure, with the dark branches of open airways.
void paint_consolidation(Scene& scene, RandomStream& random) {
  const float side = any_side(random), amount = random.uniform(0.24f, 0.34f);
  const bool upper = random.uniform() < 0.4f;
  const Lung& lung = scene.anatomy.lung(side);
  const float fissure = lung.apex + (lung.dome - lung.apex) * (upper ? 0.48f : 0.58f) + random.uniform(-0.05f, 0.05f);
  const float slope = random.uniform(-0.15f, 0.25f), far = random.uniform(0.42f, 0.6f);
  each_of_side(scene, side, [&](std::size_t i, float a, float v) {
    const float edge = fissure + slope * (a - 0.35f) + 0.025f * scene.noise.at(a, v, 0.15f);
    const float into = (v - edge) * (upper ? -1.0f : 1.0f);
    const float lobe = step(-0.02f, 0.03f, into) * step(far + 0.15f, far - 0.1f, into);
    const float airway = bell(std::abs(scene.noise.at(a, v, 0.12f)) / 0.10f);
    scene.density[i] += amount * lobe * scene.lung[i] * (1.0f - 0.22f * airway);
    scene.vessels[i] *= 1.0f - 0.7f * lobe * scene.lung[i];
  });
}

// Fluid around the hila of both lungs, wing-shaped, with swollen vessels and short lines at the chest wall.
void paint_edema(Scene& scene, RandomStream& random) {
  const float amount = random.uniform(0.18f, 0.28f), reach = random.uniform(0.24f, 0.34f);
  for (const float side : {-1.0f, 1.0f}) {
    const Lung& lung = scene.anatomy.lung(side);
    each_of_side(scene, side, [&](std::size_t i, float a, float v) {
      const float wing = bell(std::sqrt(square((a - 0.26f) / 1.0f) + square((v - 0.02f) / 1.25f)) / reach);
      const float grain = clamp01(0.7f + 0.6f * scene.noise.cloud(a * side, v, 0.07f));
      scene.density[i] += amount * wing * grain * scene.lung[i];
      scene.vessels[i] *= 1.0f + 0.8f * wing;
    });
    for (int line = 0; line < 5; ++line) {  // Kerley B
      const float v = lung.dome - 0.02f - 0.045f * static_cast<float>(line), wall = lung.wall(v);
      paint_stroke(scene.frame, scene.density, {side * (wall - 0.015f), v}, {side * (wall - 0.09f), v + 0.008f}, 0.005f,
                   0.005f, 0.10f);
    }
  }
}

// Many small patches in one lower lung.
void paint_pneumonia(Scene& scene, RandomStream& random) {
  const float side = any_side(random);
  const Point focus = point_in_lung(scene, random, side, 0.55f, 0.85f);
  const int patches = 6 + static_cast<int>(random.below(5));
  for (int patch = 0; patch < patches; ++patch) {
    const float angle = random.uniform(0.0f, 2 * std::numbers::pi_v<float>), away = 0.20f * std::sqrt(random.uniform());
    const Point centre{focus.u + away * std::cos(angle), focus.v + away * std::sin(angle)};
    paint_blob(scene, centre, random.uniform(0.05f, 0.09f), 0.15f, 0.25f, random.uniform(0.12f, 0.20f));
  }
}

// A net of fine lines, densest at the bases and along the wall.
void paint_fibrosis(Scene& scene, RandomStream& random) {
  const float amount = random.uniform(0.20f, 0.30f), mesh = random.uniform(0.045f, 0.065f);
  for (const float side : {-1.0f, 1.0f}) {
    const Lung& lung = scene.anatomy.lung(side);
    each_of_side(scene, side, [&](std::size_t i, float a, float v) {
      const float low = step(0.35f, 0.95f, (v - lung.apex) / (lung.dome - lung.apex));
      const float near_wall = step(0.35f, 0.0f, scene.costal[i]);
      const float where = clamp01(low * (0.45f + 0.55f * near_wall) + 0.25f * near_wall);
      const float fine = std::abs(scene.noise.at(a * side, v, mesh)),
                  coarse = std::abs(scene.noise.at(v, a * side, 1.7f * mesh));
      const float lines = std::max(bell(fine / 0.16f), 0.8f * bell(coarse / 0.12f));
      scene.density[i] += amount * where * scene.lung[i] * (0.25f + 0.75f * lines);
    });
  }
}

// A bright band inside the chest wall, of uneven width.
void paint_pleural_thickening(Scene& scene, RandomStream& random) {
  const bool both = random.uniform() < 0.4f;
  const float first = any_side(random);
  for (const float side : {first, -first}) {
    if (side != first && !both) {
      break;
    }
    const Lung& lung = scene.anatomy.lung(side);
    const float width = random.uniform(0.045f, 0.085f), amount = random.uniform(0.22f, 0.32f);
    const float from = random.uniform(0.0f, 0.25f), to = random.uniform(0.65f, 0.95f);
    each_of_side(scene, side, [&](std::size_t i, float a, float v) {
      const float down = (v - lung.apex) / lung.height();
      const float along = step(from - 0.1f, from + 0.05f, down) * step(to + 0.08f, to - 0.08f, down);
      const float thick = width * along * (1.0f + 0.35f * scene.noise.at(a * side, v, 0.16f));
      scene.density[i] += amount * scene.lung[i] * step(0.012f, -0.012f, scene.costal[i] - thick) * along;
    });
  }
}

// Stomach behind the heart: a round pocket of air with a bright wall and a fluid level.
void paint_hernia(Scene& scene, RandomStream& random) {
  const Anatomy& a = scene.anatomy;
  const float radius = random.uniform(0.12f, 0.18f);
  const Point centre{random.uniform(0.0f, 0.12f), a.lung(1).dome - radius - random.uniform(0.0f, 0.06f)};
  const float level = centre.v + radius * random.uniform(0.1f, 0.5f), air = random.uniform(0.20f, 0.28f);
  const float wall = std::max(0.016f, 0.7f * scene.frame.pixel());
  scene.frame.each({centre.u - 0.4f, centre.v - 0.4f, centre.u + 0.4f, centre.v + 0.4f},
                   [&](std::int64_t index, float u, float v) {
                     const auto i = static_cast<std::size_t>(index);
                     const float inside = radius - std::sqrt(square(u - centre.u) + square((v - centre.v) * 1.1f));
                     const float pocket = step(-0.01f, 0.01f, inside);
                     const float gas = step(0.008f, -0.008f, v - level);
                     scene.density[i] += pocket * (0.10f * (1.0f - gas) - air * gas) + 0.11f * bell(inside / wall);
                   });
}

}  // namespace

void paint_finding(Scene& scene, Finding finding, RandomStream random) {
  switch (finding) {
    case Finding::kAtelectasis:
      return paint_atelectasis(scene, random);
    case Finding::kConsolidation:
      return paint_consolidation(scene, random);
    case Finding::kEdema:
      return paint_edema(scene, random);
    case Finding::kEffusion:
      return paint_effusion(scene, random);
    case Finding::kFibrosis:
      return paint_fibrosis(scene, random);
    case Finding::kHernia:
      return paint_hernia(scene, random);
    case Finding::kInfiltration:
      return paint_infiltration(scene, random);
    case Finding::kMass:
      return paint_mass(scene, random);
    case Finding::kNodule:
      return paint_nodule(scene, random);
    case Finding::kPleuralThickening:
      return paint_pleural_thickening(scene, random);
    case Finding::kPneumonia:
      return paint_pneumonia(scene, random);
    case Finding::kPneumothorax:
      return paint_pneumothorax(scene, random);
    case Finding::kCardiomegaly:
    case Finding::kEmphysema:
      return;  // in the build of the chest
  }
}

}  // namespace densetree::data

// The healthy chest of the synthetic radiographs: its measures, and the planes that it is painted on.
//
// Density is what a film measures: thickness times absorption, additive, 0 for air and about 1 for the spine.
#pragma once

#include "data/synth/canvas.h"
#include "data/synth/synth.h"

namespace densetree::data {

// What a stream of random numbers of one patient is for.
enum class SynthUse : std::uint32_t { kPlan, kBody, kImage, kVessels, kNoise, kFilm, kFinding };
// follow_up separates the images of a patient; finding the signs in one.
RandomStream synth_stream(std::uint64_t seed, const SynthImage& image, SynthUse use,
                          Finding finding = Finding::kAtelectasis);

struct Lung {
  float apex = -0.74f, dome = 0.42f;   // v of the top, and of the diaphragm's highest point
  float fall = 0.24f;                  // from there down to the costophrenic angle
  float outer = 0.68f, crown = 0.14f;  // half-width of the chest at the base, and where the apex sits
  float centre = 0.34f;                // |u| of the diaphragm's highest point

  float height() const { return dome + fall - apex; }
  float wall(float v) const;                      // |u| of the chest wall
  float costal(float a, float v) const;           // distance of (|u| = a, v) to the wall, inside positive
  float above_diaphragm(float a, float v) const;  // the same to the diaphragm
};

struct Anatomy {
  Lung lungs[2];  // [0] at the image's left, which is the patient's right
  Point heart{0.10f, 0.24f};
  float heart_width = 0.33f, heart_height = 0.23f, heart_turn = 0.5f;
  float mediastinum = 0.12f, knob = 0.075f;
  float trunk = 0.95f, shoulder = -0.98f, neck = 0.21f;
  float rib_spacing = 0.135f, rib_width = 0.033f, rib_density = 0.07f;
  float air = 0.44f, vessels = 1.0f, breasts = 0.0f;
  bool stomach_bubble = false;

  const Lung& lung(float side) const { return lungs[side > 0]; }
  float middle(float u, float v) const;  // distance to the edge of heart and mediastinum, inside positive
};

// The image's patient with the findings that change the build: heart, diaphragm, lungs.
Anatomy make_anatomy(const SynthImage& image, std::uint64_t seed);

struct Scene {
  Frame frame;
  Anatomy anatomy;
  Noise noise;
  Plane density;
  Plane lung;     // 0 … 1: how much of the pixel is aerated lung
  Plane costal;   // distance to the chest wall, inside positive
  Plane vessels;  // density of the lung's markings, added where findings leave them

  Scene(const Frame& frame, const Anatomy& anatomy, RandomStream noise);
};

void paint_chest(Scene& scene, RandomStream vessels);

// Paints the signs of one finding (findings.cc).
void paint_finding(Scene& scene, Finding finding, RandomStream random);

}  // namespace densetree::data

#include "data/synth/synth.h"

#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <numeric>

#include "data/image.h"
#include "engine/io/file.h"
#include "tests/data/files.h"

namespace densetree::data {
namespace {

TEST(SynthPlan, HasEnoughOfEverything) {
  const auto plan = plan_synth(2000, 1);
  ASSERT_EQ(plan.size(), 2000u);
  std::map<std::string, int> positives;
  int none = 0, patients = 0, joined = 0;
  for (const SynthImage& image : plan) {
    none += image.findings == 0, patients += image.follow_up == 0;
    joined += std::popcount(image.findings) > 1;
    for (std::size_t f = 0; f < kFindings.size(); ++f) {
      positives[std::string(kFindings[f])] += image.findings >> f & 1;
    }
  }
  EXPECT_GT(none, 700);
  EXPECT_LT(none, 900);
  EXPECT_GT(patients, 900);
  EXPECT_LT(patients, 1400);
  EXPECT_GT(joined, 400);
  ASSERT_EQ(positives.size(), 14u);
  for (const auto& [finding, count] : positives) {
    EXPECT_GE(count, 0.06 * 2000) << finding;
    EXPECT_LE(count, 0.25 * 2000) << finding;
  }
}

TEST(SynthPlan, LongerSeriesBeginAlike) {
  const auto few = plan_synth(50, 3), many = plan_synth(80, 3), other = plan_synth(50, 4);
  int different = 0;
  for (std::size_t i = 0; i < few.size(); ++i) {
    EXPECT_EQ(few[i].name(), many[i].name());
    EXPECT_EQ(few[i].findings, many[i].findings);
    different += few[i].findings != other[i].findings;
  }
  EXPECT_GT(different, 10);
}

TEST(SynthDraw, DependsOnSeedAndImageAlone) {
  const auto plan = plan_synth(12, 1);
  const auto image = draw_synth(plan[5], 64, 1);
  ASSERT_EQ(image.size(), 64u * 64u);
  draw_synth(plan[2], 48, 1);
  EXPECT_EQ(draw_synth(plan[5], 64, 1), image);
  EXPECT_NE(draw_synth(plan[5], 64, 2), image);
  EXPECT_NE(draw_synth(plan[6], 64, 1), image);
}

double difference(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += std::abs(a[i] - b[i]);
  }
  return sum / static_cast<double>(a.size());
}

// The same patient on the same day with and without a finding: the sign must be there, and must not be the
// whole picture.
TEST(SynthDraw, EveryFindingShows) {
  const auto plan = plan_synth(40, 1);
  for (std::size_t f = 0; f < kFindings.size(); ++f) {
    double least = 1e9, most = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      SynthImage healthy = plan[i * 5], ill = healthy;
      healthy.findings = 0, ill.findings = FindingSet{1} << f;
      const double changed = difference(draw_synth(healthy, 96, 1), draw_synth(ill, 96, 1));
      least = std::min(least, changed), most = std::max(most, changed);
    }
    EXPECT_GT(least, 0.05) << kFindings[f];
    EXPECT_LT(most, 30.0) << kFindings[f];
  }
}

TEST(SynthDraw, LooksLikeAChest) {
  SynthImage image = plan_synth(1, 1)[0];
  image.findings = 0;
  for (image.patient = 1; image.patient < 20; ++image.patient) {
    const auto pixels = draw_synth(image, 64, 1);
    const auto mean = [&](int x0, int x1, int y0, int y1) {
      double sum = 0;
      for (int y = y0; y < y1; ++y) {
        for (int x = x0; x < x1; ++x) {
          sum += pixels[static_cast<std::size_t>(y) * 64 + x];
        }
      }
      return sum / ((x1 - x0) * (y1 - y0));
    };
    const double right_lung = mean(16, 22, 20, 36), spine = mean(30, 34, 20, 50), left_lung = mean(44, 48, 20, 32);
    EXPECT_GT(spine, right_lung + 40);
    EXPECT_GT(spine, left_lung + 40);
    EXPECT_LT(spine, 254) << "not blown out";
    EXPECT_GT(right_lung, 15) << "not crushed";
  }
}

TEST(SynthDraw, RefusesSizesThatCannotBe) {
  const SynthImage image = plan_synth(1, 1)[0];
  expect_contains(error_of([&] { draw_synth(image, 8, 1); }), "image size is 8");
  expect_contains(error_of([&] { draw_synth(image, 1 << 20, 1); }), "image size");
}

TEST(SynthWrite, LaysOutLikeNih) {
  const TemporaryFolder folder;
  const SynthOptions options{folder / "set", 30, 48, 7, 2};
  std::int64_t last = 0;
  write_synth(options, [&](std::int64_t done) { EXPECT_EQ(done, ++last); });
  EXPECT_EQ(last, 30);
  const LabelTable table = read_label_table(options.out / "Data_Entry_2017.csv");
  const auto plan = plan_synth(30, 7);
  ASSERT_EQ(table.entries.size(), 30u);
  for (std::size_t i = 0; i < 30; ++i) {
    EXPECT_EQ(table.entries[i].image, plan[i].name());
    EXPECT_EQ(table.entries[i].patient, plan[i].patient);
    EXPECT_EQ(table.entries[i].findings, plan[i].findings);
    const GreyImage image = decode_image(options.out / "images" / plan[i].name());
    EXPECT_EQ(image.width, 48);
    EXPECT_EQ(image.height, 48);
    EXPECT_EQ(image.pixels, draw_synth(plan[i], 48, 7));
  }
  EXPECT_EQ(plan[0].name(), "00000001_000.png");
}

TEST(SynthWrite, ContinuesWhatIsThereAndIgnoresThreads) {
  const TemporaryFolder folder;
  write_synth({folder / "one", 10, 40, 1, 1});
  write_synth({folder / "many", 10, 40, 1, 4});
  const auto name = plan_synth(10, 1)[4].name();
  const std::string before = read_file(folder / "many/images" / name);
  std::filesystem::remove(folder / "many/images" / name);
  std::filesystem::remove(folder / "many/Data_Entry_2017.csv");
  write_synth({folder / "many", 10, 40, 1, 3});
  EXPECT_EQ(read_file(folder / "many/images" / name), before);
  for (const SynthImage& image : plan_synth(10, 1)) {
    EXPECT_EQ(read_file(folder / "one/images" / image.name()), read_file(folder / "many/images" / image.name()));
  }
  EXPECT_EQ(read_file(folder / "one/Data_Entry_2017.csv"), read_file(folder / "many/Data_Entry_2017.csv"));
}

TEST(SynthWrite, StopsAndGoesOn) {
  const TemporaryFolder folder;
  std::atomic<bool> stop = false;
  SynthOptions options{folder / "set", 10, 40, 1, 1};
  options.stop = &stop;
  const SynthResult stopped = write_synth(options, [&](std::int64_t done) { stop = done == 3; });
  EXPECT_EQ(stopped.images, 3);
  EXPECT_FALSE(std::filesystem::exists(folder / "set/Data_Entry_2017.csv"));
  stop = false;
  const SynthResult whole = write_synth(options);
  EXPECT_EQ(whole.images, 10);
  EXPECT_EQ(whole.drawn, 7);
  EXPECT_TRUE(std::filesystem::exists(folder / "set/Data_Entry_2017.csv"));
}

TEST(SynthWrite, RefusesAFolderOfOtherSettings) {
  const TemporaryFolder folder;
  write_synth({folder / "set", 4, 40, 1, 1});
  for (const SynthOptions& other :
       {SynthOptions{folder / "set", 5, 40, 1, 1}, SynthOptions{folder / "set", 4, 48, 1, 1},
        SynthOptions{folder / "set", 4, 40, 2, 1}}) {
    expect_contains(error_of([&] { write_synth(other); }), "other settings");
  }
  std::filesystem::remove(folder / "set/synth.json");
  expect_contains(error_of([&] { write_synth({folder / "set", 4, 40, 1, 1}); }), "did not make");
  EXPECT_TRUE(std::filesystem::exists(folder / "set/Data_Entry_2017.csv"));
  expect_contains(error_of([&] { write_synth({folder / "new", 0, 40, 1, 1}); }), "count is 0");
}

TEST(SynthWrite, UnwritableFolderIsAnError) {
  const TemporaryFolder folder;
  write_file(folder / "file", "x");
  expect_contains(error_of([&] { write_synth({folder / "file/set", 2, 40, 1, 2}); }), "file");
}

}  // namespace
}  // namespace densetree::data

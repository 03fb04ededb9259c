#include "engine/io/nearest_name.h"

#include <gtest/gtest.h>

namespace densetree {
namespace {

const std::vector<std::string> kNames = {"Mass", "Pleural_Thickening", "Edema"};

TEST(NearestName, FindsWhatIsWrittenAnotherWay) {
  for (const char* name : {"Pleural_Thickening", "Pleural Thickening", "pleural-thickening", "PLEURAL_THICKENING",
                           "PleuralThickening", "Pleural_Thickenign", "Plural_Thickening", "Pleural_Thickening\r"}) {
    EXPECT_EQ(nearest_name(name, kNames), "Pleural_Thickening") << name;
  }
  EXPECT_EQ(nearest_name("Oedema", kNames), "Edema");
  for (const char* name : {"", "Age", "Patient ID", "Follow-up #", "Effusion"}) {
    EXPECT_EQ(nearest_name(name, kNames), "") << name;
  }
}

TEST(NearestName, AsksWhetherItWasMeant) {
  EXPECT_EQ(did_you_mean("mass", kNames), "; did you mean 'Mass'?");
  EXPECT_EQ(did_you_mean("Age", kNames), "");
}

}  // namespace
}  // namespace densetree

// What a build's machine code and PTX mean for a GPU.
#pragma once

#include <string>

namespace densetree::cuda {

// built: as in CMAKE_CUDA_ARCHITECTURES, commas or semicolons between: "80-real, 90-real, 75-virtual". For the GPU's
// compute capability: empty where its own or an earlier minor version's machine code is there, or where no version is
// named ("all", "native"); else what it gets.
std::string code_note(const std::string& built, int major, int minor);

// Empty where products in TF32 and bf16 are to be had (8.0 and later), else which precisions are not.
std::string precision_note(int major, int minor);

}  // namespace densetree::cuda

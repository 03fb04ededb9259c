// Operations that the CPU runs as they are, without preparing them (kernels/implementations.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/operations.h"

namespace densetree::cpu {

// What computes.
struct Team {
  int threads;
  std::int64_t lanes;  // channels in a block of this processor's layouts: 16 with AVX-512, else 8

  Layout layout(Use use) const;
};

// kernels/cpu/images.cc
void compute(const Team& team, const op::ImagesToInput& o, void* workspace);

// kernels/cpu/copies.cc
void compute(const Team& team, const op::Copy& o, void* workspace);
void compute(const Team& team, const op::Add& o, void* workspace);
void compute(const Team& team, const op::Clear& o, void* workspace);

// kernels/cpu/batch_norm.cc
void compute(const Team& team, const op::ChannelStatistics& o, void* workspace);
void compute(const Team& team, const op::UpdateRunning& o, void* workspace);
void compute(const Team& team, const op::ReciprocalStd& o, void* workspace);
void compute(const Team& team, const op::AffineRelu& o, void* workspace);
void compute(const Team& team, const op::AffineReluGradient& o, void* workspace);
void compute(const Team& team, const op::NormalizeGradient& o, void* workspace);
std::size_t scratch_bytes(const Team& team, const op::ChannelStatistics& o);
std::size_t scratch_bytes(const Team& team, const op::AffineReluGradient& o);

// kernels/cpu/pooling.cc
void compute(const Team& team, const op::MaxPool& o, void* workspace);
void compute(const Team& team, const op::MaxPoolGradient& o, void* workspace);
void compute(const Team& team, const op::AveragePool& o, void* workspace);
void compute(const Team& team, const op::AveragePoolGradient& o, void* workspace);
void compute(const Team& team, const op::GlobalAveragePool& o, void* workspace);
void compute(const Team& team, const op::GlobalAveragePoolGradient& o, void* workspace);

// kernels/cpu/classifier.cc
void compute(const Team& team, const op::Linear& o, void* workspace);
void compute(const Team& team, const op::LinearGradient& o, void* workspace);
void compute(const Team& team, const op::Loss& o, void* workspace);

// kernels/cpu/optimizer.cc
void compute(const Team& team, const op::L2Norm& o, void* workspace);
void compute(const Team& team, const op::Adam& o, void* workspace);
std::size_t scratch_bytes(const Team& team, const op::L2Norm& o);

// A process is one rank, and has no others yet.
inline void compute(const Team&, const op::AllReduce&, void*) {}

}  // namespace densetree::cpu

// Operations that CUDA runs as they are, without preparing them (kernels/implementations.h): each queues one or two
// kernels on the stream. Operands fit together (kernels/check_operands.h); Error where views are larger than a kernel
// can index.
#pragma once

#include <cstddef>

#include "kernels/cuda/stream.h"
#include "kernels/operations.h"

namespace densetree::cuda {

// images.cu
void compute(const Stream& stream, const op::ImagesToInput& o, void* workspace);

// copies.cu
void compute(const Stream& stream, const op::Copy& o, void* workspace);
void compute(const Stream& stream, const op::Add& o, void* workspace);
void compute(const Stream& stream, const op::Clear& o, void* workspace);

// normalization.cu
void compute(const Stream& stream, const op::UpdateRunning& o, void* workspace);
void compute(const Stream& stream, const op::ReciprocalStd& o, void* workspace);
void compute(const Stream& stream, const op::AffineRelu& o, void* workspace);
void compute(const Stream& stream, const op::NormalizeGradient& o, void* workspace);
// γ·x̂ + β = scale·x + shift: float[channels] each.
void fold(const Stream& stream, const op::Affine& affine, std::int64_t channels, float* scale, float* shift);

// reductions.cu
void compute(const Stream& stream, const op::ChannelStatistics& o, void* workspace);
void compute(const Stream& stream, const op::AffineReluGradient& o, void* workspace);
void compute(const Stream& stream, const op::L2Norm& o, void* workspace);
std::size_t reduction_bytes(std::int64_t channels);  // of workspace
inline std::size_t scratch_bytes(const Stream&, const op::ChannelStatistics& o) {
  return reduction_bytes(o.x.c);
}
inline std::size_t scratch_bytes(const Stream&, const op::AffineReluGradient& o) {
  return reduction_bytes(o.x.c);
}
inline std::size_t scratch_bytes(const Stream&, const op::L2Norm&) {
  return reduction_bytes(1);
}

// pooling.cu
void compute(const Stream& stream, const op::MaxPool& o, void* workspace);
void compute(const Stream& stream, const op::MaxPoolGradient& o, void* workspace);
void compute(const Stream& stream, const op::AveragePool& o, void* workspace);
void compute(const Stream& stream, const op::AveragePoolGradient& o, void* workspace);
void compute(const Stream& stream, const op::GlobalAveragePool& o, void* workspace);
void compute(const Stream& stream, const op::GlobalAveragePoolGradient& o, void* workspace);

// linear.cu, loss.cu, optimizer.cu
void compute(const Stream& stream, const op::Linear& o, void* workspace);
void compute(const Stream& stream, const op::LinearGradient& o, void* workspace);
void compute(const Stream& stream, const op::Loss& o, void* workspace);
void compute(const Stream& stream, const op::Adam& o, void* workspace);

// A process is one rank, and has no others yet.
inline void compute(const Stream&, const op::AllReduce&, void*) {}

}  // namespace densetree::cuda

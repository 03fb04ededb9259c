// Grey images to the network's input.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/network_input.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/pixels.h"
#include "kernels/functors/image.h"

namespace densetree::cuda {
namespace {

// A thread samples the grey value of one output pixel and writes it to all channels, and zeros to the rest of the
// pixel.
template <class T>
__global__ void images_to_input_kernel(op::ImagesToInput o, ChannelNormalize normalize) {
  const auto height = static_cast<std::int32_t>(o.y.h), width = static_cast<std::int32_t>(o.y.w);
  for (std::int64_t row = first_index(); row < o.y.count(); row += index_step()) {
    const Position at = position_of(row, height, width);
    const float grey = sample(o.images.data + at.image * o.source * o.source, o.source, o.transforms[at.image],
                              centered(at.x, width), centered(at.y, height));
    Packed<T, kInputPitch> pixel{};
    for (int c = 0; c < kInputChannels; ++c) {
      from_float(normalize(grey, c), pixel.v[c]);
    }
    reinterpret_cast<Packed<T, kInputPitch>*>(o.y.as<T>())[row] = pixel;
  }
}

}  // namespace

void compute(const Stream& stream, const op::ImagesToInput& o, void*) {
  const Tensor& y = o.y;
  require(y.layout == kInputLayout && y.whole, o.kName, "the input is a whole tensor in the layout of inputs", {y});
  with_type(y.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    launch(stream, o.kName, images_to_input_kernel<T>, grid_over(y.count(), stream), o,
           ChannelNormalize(o.normalization));
  });
}

}  // namespace densetree::cuda

// Small matrix products in registers: what the fused convolutions of the CPU are made of.
//
// Activations are slabs: kLanes channels of a pixel lie side by side, then the next pixel. A vector holds kLanes
// channels of one pixel. The blocks below are as large as the registers allow, so that a product of two numbers in
// memory costs less than one load: 14 pixels × 2 vectors of sums with AVX-512, 6 × 2 with AVX2.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

namespace densetree::cpu {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;  // of the vectors that this file is compiled for; 0: none worth the name
inline constexpr int kRun = 7;     // pixels side by side that are summed up together; two runs at a time
inline constexpr int kOutputs = 8;
#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr int kLanes = 8;
inline constexpr int kRun = 3;
inline constexpr int kOutputs = 4;
#else
inline constexpr int kLanes = 0;
inline constexpr int kRun = 1;
inline constexpr int kOutputs = 1;
#endif
inline constexpr int kPair = 2;  // vectors of sums beside each other

typedef float Vector __attribute__((vector_size((kLanes > 0 ? kLanes : 1) * 4)));
typedef float VectorInMemory __attribute__((vector_size((kLanes > 0 ? kLanes : 1) * 4), aligned(4), may_alias));

inline Vector load(const float* from) {
  return *reinterpret_cast<const VectorInMemory*>(from);
}
inline void store(Vector value, float* to) {
  *reinterpret_cast<VectorInMemory*>(to) = value;
}

// Where a sum over input channels finds them: slab i of the pixel at p lies at p + offsets[i].
struct Slabs {
  const std::int64_t* offsets;
  std::int64_t count;
};

// Sums over channels, for kRuns runs of kRows pixels each, overwriting y:
//   y[run][row][v] = Σ_i Σ_l x[run][row + offsets[i] + l] · w[i][l][v],  v < kVectors
// Vector v of a pixel of y lies v·vector_stride further on; w is [count][kLanes][kVectors][kLanes].
template <int kRuns, int kRows, int kVectors>
void sum_over_channels(const std::array<const float*, kRuns>& x, Slabs slabs, const float* w,
                       const std::array<float*, kRuns>& y, std::int64_t vector_stride) {
  Vector sums[kRuns][kRows][kVectors] = {};
  for (std::int64_t i = 0; i < slabs.count; ++i) {
    std::array<const float*, kRuns> from;
    for (int run = 0; run < kRuns; ++run) {
      from[run] = x[run] + slabs.offsets[i];
    }
#pragma GCC unroll 4
    for (int l = 0; l < kLanes; ++l, w += kVectors * kLanes) {
      Vector weights[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        weights[v] = load(w + v * kLanes);
      }
#pragma GCC unroll 2
      for (int run = 0; run < kRuns; ++run) {
#pragma GCC unroll 8
        for (int row = 0; row < kRows; ++row) {
          for (int v = 0; v < kVectors; ++v) {
            sums[run][row][v] += weights[v] * from[run][row * kLanes + l];
          }
        }
      }
    }
  }
  for (int run = 0; run < kRuns; ++run) {
    for (int row = 0; row < kRows; ++row) {
      for (int v = 0; v < kVectors; ++v) {
        store(sums[run][row][v], y[run] + row * kLanes + v * vector_stride);
      }
    }
  }
}

// Rows of pixels in a tile: `rows` rows of `width` pixels, `stride` numbers from one row to the next.
struct Rows {
  std::int64_t rows, width, stride;
};

// Sums over pixels, adding to dw[kOutputs][kVectors][kLanes]:
//   dw[o][v] += Σ_row Σ_p dy[row][p][o] · z[row][p][v]
// dy points at the first of kOutputs channels; vector v of z lies v·vector_stride further on.
template <int kVectors>
void sum_over_pixels(const float* dy, std::int64_t dy_stride, const float* z, const Rows& rows,
                     std::int64_t vector_stride, float* dw) {
  Vector sums[kOutputs][kVectors];
  for (int o = 0; o < kOutputs; ++o) {
    for (int v = 0; v < kVectors; ++v) {
      sums[o][v] = load(dw + (o * kVectors + v) * kLanes);
    }
  }
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    const float* from = dy + row * dy_stride;
    const float* by = z + row * rows.stride;
    for (std::int64_t p = 0; p < rows.width; ++p, from += kLanes, by += kLanes) {
      Vector values[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        values[v] = load(by + v * vector_stride);
      }
#pragma GCC unroll 8
      for (int o = 0; o < kOutputs; ++o) {
        for (int v = 0; v < kVectors; ++v) {
          sums[o][v] += values[v] * from[o];
        }
      }
    }
  }
  for (int o = 0; o < kOutputs; ++o) {
    for (int v = 0; v < kVectors; ++v) {
      store(sums[o][v], dw + (o * kVectors + v) * kLanes);
    }
  }
}

// Memory that is wanted soon, fetched into L2 piece by piece between products, which hide how long that takes.
class Ahead {
 public:
  // `vectors` vectors of channels of `pixels` pixels each, in about `steps` steps; `written`: to be written to.
  Ahead(const float* from, std::int64_t vectors, std::int64_t vector_stride, std::int64_t pixels, std::int64_t steps,
        bool written = false)
      : from_(from),
        vectors_(vectors),
        stride_(vector_stride),
        numbers_(pixels * kLanes),
        piece_((vectors * pixels + steps - 1) / steps),
        written_(written) {}
  Ahead() = default;

  void step() {
    for (std::int64_t i = 0; i < piece_ && vectors_ > 0; ++i) {
      if (written_) {
        __builtin_prefetch(from_ + at_, 1, 2);
      } else {
        __builtin_prefetch(from_ + at_, 0, 2);
      }
      at_ += kLanes;
      if (at_ >= numbers_) {
        at_ = 0, from_ += stride_, --vectors_;
      }
    }
  }

 private:
  const float* from_ = nullptr;
  std::int64_t vectors_ = 0, stride_ = 0, numbers_ = 0, piece_ = 0, at_ = 0;
  bool written_ = false;
};

// sum_over_channels for a whole tile. x and y point at its first pixel; a row of y follows the one before. A step of
// `ahead` after every product.
template <int kVectors>
void convolve_tile(const float* x, const Rows& rows, Slabs slabs, const float* w, float* y, std::int64_t vector_stride,
                   Ahead& ahead) {
  const auto run_at = [&](std::int64_t index, std::int64_t per_row, std::int64_t first) {
    const std::int64_t row = index / per_row, pixel = first + index % per_row * kRun;
    return std::pair(x + row * rows.stride + pixel * kLanes, y + (row * rows.width + pixel) * kLanes);
  };
  // All runs of kRows pixels, per_row of them in a row from pixel `first` on, two at a time.
  const auto all = [&]<int kRows>(std::integral_constant<int, kRows>, std::int64_t per_row, std::int64_t first) {
    const std::int64_t runs = rows.rows * per_row;
    std::int64_t index = 0;
    for (; index + 2 <= runs; index += 2) {
      const auto a = run_at(index, per_row, first), b = run_at(index + 1, per_row, first);
      sum_over_channels<2, kRows, kVectors>({a.first, b.first}, slabs, w, {a.second, b.second}, vector_stride);
      ahead.step();
    }
    if (index < runs) {
      const auto a = run_at(index, per_row, first);
      sum_over_channels<1, kRows, kVectors>({a.first}, slabs, w, {a.second}, vector_stride);
      ahead.step();
    }
  };
  const std::int64_t whole = rows.width / kRun, rest = rows.width % kRun;
  if (whole > 0) {
    all(std::integral_constant<int, kRun>{}, whole, 0);
  }
  [&]<int... kRest>(std::integer_sequence<int, kRest...>) {
    ((rest == kRest + 1 ? all(std::integral_constant<int, kRest + 1>{}, 1, whole * kRun) : void()), ...);
  }
  (std::make_integer_sequence<int, kRun - 1>{});
}

}  // namespace densetree::cpu

#include "tests/kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace densetree::reference {

namespace {

std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

// Calls term(index in x, index in y, index in w) for every product of the convolution.
template <class Term>
void for_each_product(const ConvolutionShape& shape, const Term& term) {
  const Shape in = shape.input, out = shape.output();
  const Shape weights{out.c, in.c, shape.kernel, shape.kernel};
  for (std::int64_t n = 0; n < out.n; ++n)
    for (std::int64_t o = 0; o < out.c; ++o)
      for (std::int64_t oh = 0; oh < out.h; ++oh)
        for (std::int64_t ow = 0; ow < out.w; ++ow)
          for (std::int64_t c = 0; c < in.c; ++c)
            for (std::int64_t kh = 0; kh < shape.kernel; ++kh)
              for (std::int64_t kw = 0; kw < shape.kernel; ++kw) {
                const std::int64_t ih = oh * shape.stride - shape.padding + kh;
                const std::int64_t iw = ow * shape.stride - shape.padding + kw;
                if (ih < 0 || ih >= in.h || iw < 0 || iw >= in.w) continue;
                term(at(in, n, c, ih, iw), at(out, n, o, oh, ow), at(weights, o, c, kh, kw));
              }
}

// Calls element(index, channel) for every element of the tensor.
template <class Element>
void for_each_element(const Shape& shape, const Element& element) {
  for (std::int64_t n = 0; n < shape.n; ++n)
    for (std::int64_t c = 0; c < shape.c; ++c)
      for (std::int64_t h = 0; h < shape.h; ++h)
        for (std::int64_t w = 0; w < shape.w; ++w) element(at(shape, n, c, h, w), size(c));
}

double count_of(const Shape& shape) {
  return static_cast<double>(shape.n * shape.pixels());
}

}  // namespace

Values absolute(Values values) {
  for (double& v : values) v = std::abs(v);
  return values;
}

Values channels_of(const Shape& shape, const Values& x, std::int64_t begin, std::int64_t count) {
  Values part;
  for (std::int64_t n = 0; n < shape.n; ++n) {
    const auto from = x.begin() + static_cast<std::ptrdiff_t>(at(shape, n, begin, 0, 0));
    part.insert(part.end(), from, from + count * shape.pixels());
  }
  return part;
}

// ---- Convolution ---------------------------------------------------------------------------------

Values convolution_forward(const ConvolutionShape& shape, const Values& x, const Values& w) {
  Values y(size(shape.output().elements()), 0.0);
  for_each_product(shape, [&](std::size_t i, std::size_t o, std::size_t k) { y[o] += x[i] * w[k]; });
  return y;
}

Values convolution_backward_data(const ConvolutionShape& shape, const Values& dy, const Values& w) {
  Values dx(size(shape.input.elements()), 0.0);
  for_each_product(shape, [&](std::size_t i, std::size_t o, std::size_t k) { dx[i] += dy[o] * w[k]; });
  return dx;
}

Values convolution_backward_weights(const ConvolutionShape& shape, const Values& x, const Values& dy) {
  Values dw(size(shape.weights()), 0.0);
  for_each_product(shape, [&](std::size_t i, std::size_t o, std::size_t k) { dw[k] += dy[o] * x[i]; });
  return dw;
}

// ---- Batch normalisation -------------------------------------------------------------------------

ChannelStatistics channel_statistics(const Shape& shape, const Values& x, double eps) {
  const double m = count_of(shape);
  ChannelStatistics out{Values(size(shape.c), 0.0), Values(size(shape.c), 0.0), Values(size(shape.c), 0.0)};
  for_each_element(shape, [&](std::size_t i, std::size_t c) { out.mean[c] += x[i] / m; });
  for_each_element(
      shape, [&](std::size_t i, std::size_t c) { out.variance[c] += (x[i] - out.mean[c]) * (x[i] - out.mean[c]) / m; });
  for (std::size_t c = 0; c < out.rstd.size(); ++c) out.rstd[c] = 1 / std::sqrt(out.variance[c] + eps);
  return out;
}

Values batch_norm_relu(const Shape& shape, const Values& x, const Values& gamma, const Values& beta, double eps,
                       bool relu) {
  const ChannelStatistics batch = channel_statistics(shape, x, eps);
  Values y(x.size());
  for_each_element(shape, [&](std::size_t i, std::size_t c) {
    const double z = (x[i] - batch.mean[c]) / std::sqrt(batch.variance[c] + eps) * gamma[c] + beta[c];
    y[i] = relu && z <= 0 ? 0 : z;
  });
  return y;
}

BatchNormGradient batch_norm_relu_backward(const Shape& shape, const Values& dy, const Values& x, const Values& gamma,
                                           const Values& beta, double eps, bool relu) {
  const double m = count_of(shape);
  const ChannelStatistics batch = channel_statistics(shape, x, eps);
  const Values y = batch_norm_relu(shape, x, gamma, beta, eps, relu);
  Values dz(x.size()), xhat(x.size());
  BatchNormGradient out{Values(x.size()), Values(size(shape.c), 0.0), Values(size(shape.c), 0.0)};
  for_each_element(shape, [&](std::size_t i, std::size_t c) {
    dz[i] = relu && y[i] <= 0 ? 0 : dy[i];
    xhat[i] = (x[i] - batch.mean[c]) / std::sqrt(batch.variance[c] + eps);
    out.dgamma[c] += dz[i] * xhat[i];
    out.dbeta[c] += dz[i];
  });
  for_each_element(shape, [&](std::size_t i, std::size_t c) {
    out.dx[i] =
        gamma[c] / (m * std::sqrt(batch.variance[c] + eps)) * (m * dz[i] - out.dbeta[c] - xhat[i] * out.dgamma[c]);
  });
  return out;
}

Values affine_relu(const Shape& shape, const Values& x, const AffineValues& affine, bool relu) {
  Values y(x.size());
  for_each_element(shape, [&](std::size_t i, std::size_t c) {
    const double z = affine.gamma[c] * ((x[i] - affine.mean[c]) * affine.rstd[c]) + affine.beta[c];
    y[i] = relu && z <= 0 ? 0 : z;
  });
  return y;
}

Values relu_gradient(const Shape& shape, const Values& dy, const Values& x, const AffineValues& affine) {
  const Values z = affine_relu(shape, x, affine, false);
  Values dz = dy;
  for (std::size_t i = 0; i < dz.size(); ++i) {
    if (z[i] <= 0) dz[i] = 0;
  }
  return dz;
}

AffineGradient affine_backward(const Shape& shape, const Values& dz, const Values& x, const AffineValues& affine) {
  const Values none(size(shape.c), 0.0);
  AffineGradient out{Values(x.size()), none, none, none, none};
  for_each_element(shape, [&](std::size_t i, std::size_t c) {
    const double xhat = (x[i] - affine.mean[c]) * affine.rstd[c];
    out.s[i] = affine.gamma[c] * dz[i];
    out.s_sum[c] += out.s[i];
    out.s_xhat[c] += out.s[i] * xhat;
    out.dgamma[c] += dz[i] * xhat;
    out.dbeta[c] += dz[i];
  });
  return out;
}

Values normalize_backward(const Shape& shape, const Values& s, const Values& x, const Values& mean, const Values& rstd,
                          const Values& s_sum, const Values& s_xhat) {
  const double m = count_of(shape);
  Values dx(x.size());
  for_each_element(shape, [&](std::size_t i, std::size_t c) {
    const double xhat = (x[i] - mean[c]) * rstd[c];
    dx[i] = rstd[c] * (s[i] - s_sum[c] / m - xhat * s_xhat[c] / m);
  });
  return dx;
}

void update_running(const ChannelStatistics& batch, std::int64_t count, double momentum, Values& running_mean,
                    Values& running_variance) {
  const double m = static_cast<double>(count);
  for (std::size_t c = 0; c < batch.mean.size(); ++c) {
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * batch.mean[c];
    running_variance[c] = (1 - momentum) * running_variance[c] + momentum * batch.variance[c] * m / (m - 1);
  }
}

// ---- Pooling -------------------------------------------------------------------------------------

Values max_pool(const MaxPooling& pooling, const Values& x, std::vector<std::size_t>* winner) {
  const Shape in = pooling.input, out = pooling.output();
  Values y(size(out.elements()));
  std::vector<std::size_t> won(y.size());
  for (std::int64_t n = 0; n < out.n; ++n)
    for (std::int64_t c = 0; c < out.c; ++c)
      for (std::int64_t oh = 0; oh < out.h; ++oh)
        for (std::int64_t ow = 0; ow < out.w; ++ow) {
          double best = -std::numeric_limits<double>::infinity();
          std::size_t best_at = 0;
          bool any = false;
          for (int kh = 0; kh < pooling.kernel; ++kh)
            for (int kw = 0; kw < pooling.kernel; ++kw) {
              const std::int64_t ih = oh * pooling.stride - pooling.padding + kh;
              const std::int64_t iw = ow * pooling.stride - pooling.padding + kw;
              if (ih < 0 || ih >= in.h || iw < 0 || iw >= in.w) continue;
              const std::size_t i = at(in, n, c, ih, iw);
              if (!any || x[i] > best) best = x[i], best_at = i;
              any = true;
            }
          y[at(out, n, c, oh, ow)] = best;
          won[at(out, n, c, oh, ow)] = best_at;
        }
  if (winner) *winner = won;
  return y;
}

Values max_pool_backward(const MaxPooling& pooling, const Values& dy, const std::vector<std::size_t>& winner) {
  Values dx(size(pooling.input.elements()), 0.0);
  for (std::size_t i = 0; i < dy.size(); ++i) dx[winner[i]] += dy[i];
  return dx;
}

Shape average_pool_output(const Shape& input, int kernel) {
  return {input.n, input.c, input.h / kernel, input.w / kernel};
}

Values average_pool(const Shape& input, int kernel, const Values& x) {
  const Shape out = average_pool_output(input, kernel);
  Values y(size(out.elements()), 0.0);
  for (std::int64_t n = 0; n < out.n; ++n)
    for (std::int64_t c = 0; c < out.c; ++c)
      for (std::int64_t h = 0; h < out.h * kernel; ++h)
        for (std::int64_t w = 0; w < out.w * kernel; ++w) {
          y[at(out, n, c, h / kernel, w / kernel)] += x[at(input, n, c, h, w)] / (kernel * kernel);
        }
  return y;
}

Values average_pool_backward(const Shape& input, int kernel, const Values& dy) {
  const Shape out = average_pool_output(input, kernel);
  Values dx(size(input.elements()), 0.0);
  for (std::int64_t n = 0; n < out.n; ++n)
    for (std::int64_t c = 0; c < out.c; ++c)
      for (std::int64_t h = 0; h < out.h * kernel; ++h)
        for (std::int64_t w = 0; w < out.w * kernel; ++w) {
          dx[at(input, n, c, h, w)] = dy[at(out, n, c, h / kernel, w / kernel)] / (kernel * kernel);
        }
  return dx;
}

Values global_average_pool(const Shape& input, const Values& x) {
  const std::size_t pixels = size(input.pixels());
  Values y(size(input.n * input.c), 0.0);
  for (std::size_t i = 0; i < x.size(); ++i) y[i / pixels] += x[i] / static_cast<double>(pixels);
  return y;
}

Values global_average_pool_backward(const Shape& input, const Values& dy) {
  const std::size_t pixels = size(input.pixels());
  Values dx(size(input.elements()));
  for (std::size_t i = 0; i < dx.size(); ++i) dx[i] = dy[i / pixels] / static_cast<double>(pixels);
  return dx;
}

// ---- Classifier ----------------------------------------------------------------------------------

Values linear(const LinearSize& s, const Values& x, const Values& w, const Values& b) {
  Values y(size(s.n * s.l));
  for (std::int64_t n = 0; n < s.n; ++n)
    for (std::int64_t l = 0; l < s.l; ++l) {
      double sum = b[size(l)];
      for (std::int64_t k = 0; k < s.k; ++k) sum += x[size(n * s.k + k)] * w[size(l * s.k + k)];
      y[size(n * s.l + l)] = sum;
    }
  return y;
}

LinearGradient linear_backward(const LinearSize& s, const Values& x, const Values& w, const Values& dy) {
  LinearGradient out{Values(x.size(), 0.0), Values(w.size(), 0.0), Values(size(s.l), 0.0)};
  for (std::int64_t n = 0; n < s.n; ++n)
    for (std::int64_t l = 0; l < s.l; ++l) {
      const double d = dy[size(n * s.l + l)];
      out.db[size(l)] += d;
      for (std::int64_t k = 0; k < s.k; ++k) {
        out.dx[size(n * s.k + k)] += d * w[size(l * s.k + k)];
        out.dw[size(l * s.k + k)] += d * x[size(n * s.k + k)];
      }
    }
  return out;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

LossValue loss(LossKind kind, const Values& z, const Values& y, const Values& positive_weights, std::int64_t n,
               std::int64_t l) {
  double present = 0;
  for (double target : y) present += std::isnan(target) ? 0 : 1;
  LossValue out;
  out.dz.assign(size(n * l), 0.0);
  out.dz_magnitude.assign(size(n * l), 0.0);
  for (std::size_t i = 0; i < z.size(); ++i) {
    if (std::isnan(y[i])) continue;
    const double weight = positive_weights.empty() || y[i] != 1 ? 1 : positive_weights[i % size(l)];
    const double scale = weight / present, s = sigmoid(z[i]);
    if (kind == LossKind::kMse) {
      out.loss += scale * (s - y[i]) * (s - y[i]);
      out.magnitude += scale * (s + y[i]) * (s + y[i]);
      out.dz[i] = scale * 2 * (s - y[i]) * s * (1 - s);
      out.dz_magnitude[i] = scale * 2 * (s + y[i]) * s;
    } else {  // −y·log σ(z) − (1 − y)·log σ(−z), written so that nothing overflows
      out.loss += scale * (std::max(z[i], 0.0) - z[i] * y[i] + std::log1p(std::exp(-std::abs(z[i]))));
      out.magnitude += scale * (std::abs(z[i]) + std::log1p(std::exp(-std::abs(z[i]))));
      out.dz[i] = scale * (s - y[i]);
      out.dz_magnitude[i] = scale * (s + y[i]);
    }
  }
  return out;
}

// ---- Optimiser -----------------------------------------------------------------------------------

double l2_norm(const Values& g) {
  double sum = 0;
  for (double v : g) sum += v * v;
  return std::sqrt(sum);
}

AdamState adam(const AdamStep& step, double norm, const Values& g, const AdamState& before) {
  const double lr = step.lr, beta1 = step.beta1, beta2 = step.beta2, t = static_cast<double>(step.step);
  const double scale = step.clip_norm > 0 && norm > step.clip_norm ? step.clip_norm / norm : 1;
  AdamState out = before;
  for (std::size_t i = 0; i < g.size(); ++i) {
    const double gradient = scale * g[i];
    out.m[i] = beta1 * before.m[i] + (1 - beta1) * gradient;
    out.v[i] = beta2 * before.v[i] + (1 - beta2) * gradient * gradient;
    const double m_hat = out.m[i] / (1 - std::pow(beta1, t));
    const double v_hat = out.v[i] / (1 - std::pow(beta2, t));
    out.w[i] = before.w[i] - lr * step.weight_decay * before.w[i] - lr * m_hat / (std::sqrt(v_hat) + step.eps);
  }
  return out;
}

// ---- Input ---------------------------------------------------------------------------------------

namespace {

// Bilinear between the four pixels around (x, y), pixel centres at whole numbers; black outside.
double sample(const std::uint8_t* image, std::int64_t source, double x, double y) {
  const auto pixel = [&](double column, double row) -> double {
    const double last = static_cast<double>(source - 1);
    if (column < 0 || row < 0 || column > last || row > last) return 0;
    return image[static_cast<std::int64_t>(row) * source + static_cast<std::int64_t>(column)];
  };
  const double left = std::floor(x), top = std::floor(y), fx = x - left, fy = y - top;
  return (1 - fy) * ((1 - fx) * pixel(left, top) + fx * pixel(left + 1, top)) +
         fy * ((1 - fx) * pixel(left, top + 1) + fx * pixel(left + 1, top + 1));
}

}  // namespace

Values images_to_input(const std::vector<std::uint8_t>& images, std::int64_t source,
                       const std::vector<ImageTransform>& transforms, const InputNormalization& normalization,
                       std::int64_t height, std::int64_t width) {
  const Shape shape{static_cast<std::int64_t>(transforms.size()), kInputChannels, height, width};
  const double middle = (static_cast<double>(source) - 1) / 2;
  Values y(size(shape.elements()));
  for (std::int64_t n = 0; n < shape.n; ++n) {
    const ImageTransform& t = transforms[size(n)];
    for (std::int64_t h = 0; h < height; ++h)
      for (std::int64_t w = 0; w < width; ++w) {
        const double px = static_cast<double>(w) - (static_cast<double>(width) - 1) / 2;
        const double py = static_cast<double>(h) - (static_cast<double>(height) - 1) / 2;
        const double grey = sample(images.data() + n * source * source, source, t.xx * px + t.xy * py + t.x0 + middle,
                                   t.yx * px + t.yy * py + t.y0 + middle) /
                            255;
        const double value = std::clamp(t.contrast * (grey - 0.5) + 0.5, 0.0, 1.0);
        for (std::int64_t c = 0; c < shape.c; ++c) {
          y[at(shape, n, c, h, w)] = (value - normalization.mean[c]) / normalization.std[c];
        }
      }
  }
  return y;
}

}  // namespace densetree::reference

#include "nn/operations.h"

#include "kernels/core/error.h"

namespace densetree::nn {

namespace {

class InputOperation final : public Operation {
 public:
  InputOperation(std::string name, StorageId pixels, std::int64_t source, StorageId transforms, Tensor y)
      : Operation(std::move(name)), pixels_(pixels), source_(source), transforms_(transforms), y_(y) {}

  Uses forward_uses() const override { return {.reads = {pixels_, transforms_}, .writes = {y_.storage}}; }
  void forward(const Run& run) override {
    run.device.images_to_input(run.array<std::uint8_t>(pixels_), source_, run.array<ImageTransform>(transforms_),
                               InputNormalization{}, run.view(y_));
  }

 private:
  StorageId pixels_;
  std::int64_t source_;
  StorageId transforms_;
  Tensor y_;
};

class ConvolutionOperation final : public Operation {
 public:
  std::string implementation() const override { return convolution_->implementation().text(); }
  ConvolutionOperation(std::string name, std::unique_ptr<Convolution> convolution, Tensor x, Weight w, Tensor y,
                       Tensor dx, Tensor dy, bool input_gradient)
      : Operation(std::move(name)),
        convolution_(std::move(convolution)),
        x_(x),
        y_(y),
        dx_(dx),
        dy_(dy),
        w_(w),
        input_gradient_(input_gradient) {}

  Uses forward_uses() const override {
    return {.reads = {x_.storage}, .writes = {y_.storage}, .workspace = convolution_->workspace_bytes()};
  }
  void forward(const Run& run) override {
    convolution_->forward(run.view(x_), w_.value(), run.view(y_), run.workspace);
  }
  std::optional<Uses> backward_uses() override {
    Uses uses{
        .reads = {x_.storage, dy_.storage}, .writes = {w_.gradients}, .workspace = convolution_->workspace_bytes()};
    if (input_gradient_) {
      uses.writes.push_back(dx_.storage);
    }
    return uses;
  }
  void backward(const Run& run) override {
    convolution_->backward_weights(run.view(x_), run.view(dy_), w_.gradient(run), run.workspace);
    if (input_gradient_) {
      convolution_->backward_data(run.view(dy_), w_.value(), run.view(dx_), run.workspace);
    }
  }

 private:
  std::unique_ptr<Convolution> convolution_;
  Tensor x_, y_, dx_, dy_;
  Weight w_;
  bool input_gradient_;
};

class CopyOperation final : public Operation {
 public:
  CopyOperation(std::string name, Tensor x, Tensor y, Tensor dx, Tensor dy)
      : Operation(std::move(name)), x_(x), y_(y), dx_(dx), dy_(dy) {}

  Uses forward_uses() const override { return {.reads = {x_.storage}, .writes = {y_.storage}}; }
  void forward(const Run& run) override { run.device.copy_view(run.view(x_), run.view(y_)); }
  std::optional<Uses> backward_uses() override { return Uses{.reads = {dy_.storage}, .writes = {dx_.storage}}; }
  void backward(const Run& run) override { run.device.copy_view(run.view(dy_), run.view(dx_)); }

 private:
  Tensor x_, y_, dx_, dy_;
};

class MaxPoolOperation final : public Operation {
 public:
  MaxPoolOperation(std::string name, int kernel, int stride, int padding, Tensor x, Tensor y, StorageId choice,
                   Tensor dx, Tensor dy)
      : Operation(std::move(name)),
        kernel_(kernel),
        stride_(stride),
        padding_(padding),
        x_(x),
        y_(y),
        dx_(dx),
        dy_(dy),
        choice_(choice) {}

  Uses forward_uses() const override {
    Uses uses{.reads = {x_.storage}, .writes = {y_.storage}};
    if (choice_ >= 0) {
      uses.writes.push_back(choice_);
    }
    return uses;
  }
  void forward(const Run& run) override {
    run.device.max_pool(run.view(x_), kernel_, stride_, padding_, run.view(y_),
                        choice_ >= 0 ? run.array<std::uint8_t>(choice_) : nullptr);
  }
  std::optional<Uses> backward_uses() override {
    return Uses{.reads = {dy_.storage, choice_}, .writes = {dx_.storage}};
  }
  void backward(const Run& run) override {
    run.device.max_pool_backward(run.view(dy_), run.array<std::uint8_t>(choice_), kernel_, stride_, padding_,
                                 run.view(dx_));
  }

 private:
  int kernel_, stride_, padding_;
  Tensor x_, y_, dx_, dy_;
  StorageId choice_;
};

class AveragePoolOperation final : public Operation {
 public:
  AveragePoolOperation(std::string name, int kernel, Tensor x, Tensor y, Tensor dx, Tensor dy)
      : Operation(std::move(name)), kernel_(kernel), x_(x), y_(y), dx_(dx), dy_(dy) {}

  Uses forward_uses() const override { return {.reads = {x_.storage}, .writes = {y_.storage}}; }
  void forward(const Run& run) override { run.device.average_pool(run.view(x_), kernel_, run.view(y_)); }
  std::optional<Uses> backward_uses() override { return Uses{.reads = {dy_.storage}, .writes = {dx_.storage}}; }
  void backward(const Run& run) override { run.device.average_pool_backward(run.view(dy_), kernel_, run.view(dx_)); }

 private:
  int kernel_;
  Tensor x_, y_, dx_, dy_;
};

class GlobalAveragePoolOperation final : public Operation {
 public:
  GlobalAveragePoolOperation(std::string name, Tensor x, StorageId y, Tensor dx, StorageId dy)
      : Operation(std::move(name)), x_(x), dx_(dx), y_(y), dy_(dy) {}

  Uses forward_uses() const override { return {.reads = {x_.storage}, .writes = {y_}}; }
  void forward(const Run& run) override { run.device.global_average_pool(run.view(x_), run.array(y_)); }
  std::optional<Uses> backward_uses() override { return Uses{.reads = {dy_}, .writes = {dx_.storage}}; }
  void backward(const Run& run) override { run.device.global_average_pool_backward(run.array(dy_), run.view(dx_)); }

 private:
  Tensor x_, dx_;
  StorageId y_, dy_;
};

class LinearOperation final : public Operation {
 public:
  LinearOperation(std::string name, std::int64_t n, std::int64_t k, std::int64_t l, StorageId x, Weight w, Weight b,
                  StorageId y, StorageId dx, StorageId dy)
      : Operation(std::move(name)), n_(n), k_(k), l_(l), x_(x), y_(y), dx_(dx), dy_(dy), w_(w), b_(b) {}

  Uses forward_uses() const override { return {.reads = {x_}, .writes = {y_}}; }
  void forward(const Run& run) override {
    run.device.linear(run.array(x_), w_.value(), b_.value(), n_, k_, l_, run.array(y_));
  }
  std::optional<Uses> backward_uses() override { return Uses{.reads = {x_, dy_}, .writes = {dx_, w_.gradients}}; }
  void backward(const Run& run) override {
    run.device.linear_backward(run.array(x_), w_.value(), run.array(dy_), n_, k_, l_, run.array(dx_), w_.gradient(run),
                               b_.gradient(run));
  }

 private:
  std::int64_t n_, k_, l_;
  StorageId x_, y_, dx_, dy_;
  Weight w_, b_;
};

class LossOperation final : public Operation {
 public:
  LossOperation(std::string name, LossKind kind, std::int64_t n, std::int64_t l, StorageId logits, StorageId targets,
                StorageId positive_weights, StorageId loss, StorageId dlogits)
      : Operation(std::move(name)),
        kind_(kind),
        n_(n),
        l_(l),
        logits_(logits),
        targets_(targets),
        positive_weights_(positive_weights),
        loss_(loss),
        dlogits_(dlogits) {}

  Uses forward_uses() const override {
    Uses uses{.reads = {logits_, targets_}, .writes = {loss_, dlogits_}};
    if (positive_weights_ >= 0) {
      uses.reads.push_back(positive_weights_);
    }
    return uses;
  }
  void forward(const Run& run) override {
    run.device.loss(kind_, run.array(logits_), run.array(targets_),
                    positive_weights_ >= 0 ? run.array(positive_weights_) : nullptr, n_, l_, run.array<double>(loss_),
                    run.array(dlogits_));
  }

 private:
  LossKind kind_;
  std::int64_t n_, l_;
  StorageId logits_, targets_, positive_weights_, loss_, dlogits_;
};

}  // namespace

std::unique_ptr<Operation> make_input(std::string name, StorageId pixels, std::int64_t source, StorageId transforms,
                                      Tensor y) {
  return std::make_unique<InputOperation>(std::move(name), pixels, source, transforms, y);
}

std::unique_ptr<Operation> make_convolution(std::string name, std::unique_ptr<Convolution> convolution, Tensor x,
                                            Weight w, Tensor y, Tensor dx, Tensor dy, bool input_gradient) {
  return std::make_unique<ConvolutionOperation>(std::move(name), std::move(convolution), x, w, y, dx, dy,
                                                input_gradient);
}

std::unique_ptr<Operation> make_copy(std::string name, Tensor x, Tensor y, Tensor dx, Tensor dy) {
  return std::make_unique<CopyOperation>(std::move(name), x, y, dx, dy);
}

std::unique_ptr<Operation> make_max_pool(std::string name, int kernel, int stride, int padding, Tensor x, Tensor y,
                                         StorageId choice, Tensor dx, Tensor dy) {
  return std::make_unique<MaxPoolOperation>(std::move(name), kernel, stride, padding, x, y, choice, dx, dy);
}

std::unique_ptr<Operation> make_average_pool(std::string name, int kernel, Tensor x, Tensor y, Tensor dx, Tensor dy) {
  return std::make_unique<AveragePoolOperation>(std::move(name), kernel, x, y, dx, dy);
}

std::unique_ptr<Operation> make_global_average_pool(std::string name, Tensor x, StorageId y, Tensor dx, StorageId dy) {
  return std::make_unique<GlobalAveragePoolOperation>(std::move(name), x, y, dx, dy);
}

std::unique_ptr<Operation> make_linear(std::string name, std::int64_t n, std::int64_t k, std::int64_t l, StorageId x,
                                       Weight w, Weight b, StorageId y, StorageId dx, StorageId dy) {
  return std::make_unique<LinearOperation>(std::move(name), n, k, l, x, w, b, y, dx, dy);
}

std::unique_ptr<Operation> make_loss(std::string name, LossKind kind, std::int64_t n, std::int64_t l, StorageId logits,
                                     StorageId targets, StorageId positive_weights, StorageId loss, StorageId dlogits) {
  return std::make_unique<LossOperation>(std::move(name), kind, n, l, logits, targets, positive_weights, loss, dlogits);
}

}  // namespace densetree::nn

#include "model.h"

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include <string_view>

namespace {

class TorchScriptModel : public Model {
 public:
  explicit TorchScriptModel(const std::string& path) : module_(torch::jit::load(path)) {}

  at::Tensor run(const at::Tensor& input) override { return module_({input}).toTensor(); }

  std::map<std::string, at::Tensor> buffers() override {
    std::map<std::string, at::Tensor> buffers;
    for (const auto& buffer : module_.named_buffers()) buffers.emplace(buffer.name, buffer.value);
    return buffers;
  }

 private:
  torch::jit::Module module_;
};

class AOTInductorModel : public Model {
 public:
  explicit AOTInductorModel(const std::string& path) : package_(path) {}

  at::Tensor run(const at::Tensor& input) override { return package_.run({input}).at(0); }

  std::map<std::string, at::Tensor> buffers() override {
    const auto constants = package_.get_runner()->extract_constants_map(/*use_inactive=*/false);
    return {constants.begin(), constants.end()};
  }

 private:
  torch::inductor::AOTIModelPackageLoader package_;
};

}  // namespace

std::unique_ptr<Model> load_model(const std::string& path) {
  if (std::string_view(path).ends_with(".pt2")) return std::make_unique<AOTInductorModel>(path);
  return std::make_unique<TorchScriptModel>(path);
}

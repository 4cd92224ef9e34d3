// A model from a file, in either of the forms that run without Python.

#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>

class Model {
 public:
  virtual ~Model() = default;

  virtual at::Tensor run(const at::Tensor& input) = 0;

  /// Its buffers, by their names in the model.
  virtual std::map<std::string, at::Tensor> buffers() = 0;
};

/// A file that ends with .pt2 is an AOTInductor package; any other is TorchScript.
std::unique_ptr<Model> load_model(const std::string& path);

// Tensors in files, as torch.save writes them.

#pragma once

#include <ATen/core/Tensor.h>

#include <string>

/// Throws std::runtime_error if the file cannot be read or holds no tensor.
at::Tensor read_tensor(const std::string& path);

void write_tensor(const std::string& path, const at::Tensor& tensor);

/// Whether dtype, shape and every bit are the same.
bool same_bits(const at::Tensor& x, const at::Tensor& y);

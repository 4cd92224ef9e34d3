// What the compression in a model has counted, as a table.

#pragma once

#include <ATen/core/Tensor.h>

#include <iosfwd>
#include <map>
#include <string>

/// Prints a line for each call of a layer that torch_ebpc.insert_compression has given compression,
/// in the order of calls, and their total. `buffers` are the model's, by name.
/// Throws std::runtime_error if there is no compression in the model.
void print_layers(std::ostream& out, const std::map<std::string, at::Tensor>& buffers);

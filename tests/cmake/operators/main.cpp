// Runs a TorchScript model with compression in it on two images, and prints each layer's ratio.

#include <torch/script.h>

#include <iostream>

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "first_program MODEL\n";
    return 2;
  }
  const at::NoGradGuard no_gradients;
  torch::jit::Module model = torch::jit::load(arguments[1]);
  std::cout << model({torch::rand({2, 3, 32, 32})}).toTensor().sizes() << '\n';
  for (const auto& buffer : model.named_buffers()) {
    if (!buffer.name.ends_with("ebpc_calls")) continue;
    const at::Tensor sums = buffer.value.sum(0);  // over the calls of the layer
    const double uncompressed = sums[3].item<double>();
    const double compressed = (sums[4] + sums[5]).item<double>();
    std::cout << buffer.name << ": EBPC's ratio is " << uncompressed / compressed << '\n';
  }
}

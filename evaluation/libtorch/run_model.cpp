// Runs a model with compression in it on one tensor and prints what each of its layers costs.

#include <ATen/core/grad_mode.h>
#include <dlfcn.h>

#include <exception>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>

#include "layer_table.h"
#include "model.h"
#include "tensor_file.h"

namespace {

constexpr const char* usage =
    "run_model MODEL INPUT [--expect FILE] [--output FILE] [--operators LIBRARY]\n"
    "  MODEL      TorchScript, or an AOTInductor package (.pt2)\n"
    "  INPUT      a tensor, as torch.save writes it\n"
    "  --expect   fail unless the output has the bits of this tensor\n"
    "  --output   write the output as a tensor\n"
    "  --operators  load libtorch_ebpc.so, for a program that is not linked with it\n";

std::map<std::string, std::string> options_of(int count, char** arguments) {
  std::map<std::string, std::string> options{{"model", arguments[1]}, {"input", arguments[2]}};
  for (int i = 3; i < count; i += 2) {
    const std::string name = arguments[i];
    if ((name != "--expect" && name != "--output" && name != "--operators") || i + 1 == count) {
      throw std::invalid_argument("not an option, or one without its value: " + name);
    }
    options[name] = arguments[i + 1];
  }
  return options;
}

/// Returns whether the output is as expected.
bool run(const std::map<std::string, std::string>& options) {
  const auto given = [&](const char* name) { return options.count(name) == 1; };
  if (given("--operators") && dlopen(options.at("--operators").c_str(), RTLD_NOW) == nullptr) {
    throw std::runtime_error(dlerror());
  }
  const at::NoGradGuard no_gradients;
  const std::unique_ptr<Model> model = load_model(options.at("model"));
  const at::Tensor output = model->run(read_tensor(options.at("input")));
  print_layers(std::cout, model->buffers());
  if (given("--output")) write_tensor(options.at("--output"), output);
  if (!given("--expect")) return true;
  const bool same = same_bits(output, read_tensor(options.at("--expect")));
  std::cout << "the output " << (same ? "has" : "does NOT have") << " the expected bits\n";
  return same;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::cerr << usage;
    return 2;
  }
  try {
    return run(options_of(count, arguments)) ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}

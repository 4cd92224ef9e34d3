// Prints the registers of the encoder and the decoder at W = 8, N = 8, R = 16, unit by unit, and
// how both grow with W and N.

#include <iostream>

#include "ebpc/hardware/decoder.h"
#include "ebpc/hardware/encoder.h"
#include "ebpc/hardware/inventory.h"

int main() {
  using namespace ebpc::hardware;
  const ebpc::Parameters published;
  std::cout << "Encoder, W = 8, N = 8, R = 16\n"
            << inventory_table(Encoder(published).registers())
            << "\nDecoder, W = 8, N = 8, R = 16\n"
            << inventory_table(Decoder(published).registers()) << '\n'
            << growth_table();
}

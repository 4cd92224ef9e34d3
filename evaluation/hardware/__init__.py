"""What the compression costs and saves in hardware, on a network's real feature maps
(`make hardware`): registers, cycles, FIFOs, memory traffic, energy, and exports for other tools."""
